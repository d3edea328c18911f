//! Verification of tokens, by gateway and command line alike.
//!
//! One pass, fixed order: size, shape, header, key, signature, then claims against the `now` handed in. The
//! algorithm is the key's; the header only has to agree. There is no leeway, because Temporal has none either.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;
use time::OffsetDateTime;

use super::{Confirmation, Error, PublicKey, Refusal, Scopes};

/// Largest token looked at.
const MAX_TOKEN: usize = 8 * 1024;
/// Last second of the year 9999: later times are refused, not wrapped.
const MAX_TIME: f64 = 253_402_300_799.0;
/// What is wrong with a payload that can't be read.
pub(super) const NO_CLAIMS: &str = "payload is not a JSON object of claims in base64url";

/// Who may sign, and what tokens must say.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    issuer: String,
    audience: String,
}

/// What a token that passed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// `sub`.
    pub sub: String,
    /// Known scopes of `scope`; never empty.
    pub scopes: Scopes,
    /// `jti`; empty when the token has none.
    pub jti: String,
    /// `kid` of the key that signed.
    pub kid: String,
    /// `nbf`.
    pub not_before: OffsetDateTime,
    /// `exp`.
    pub expires: OffsetDateTime,
    /// `namespaces`; `None` = all.
    pub namespaces: Option<Vec<String>>,
    /// `cnf`: certificate the token is bound to.
    pub cnf_x5t: Option<Confirmation>,
    /// `iss`, where that is not the warden.
    pub issuer: Option<Arc<str>>,
    /// Scopes held for reading only; none in a token of the warden's.
    pub reads: Scopes,
}

impl Verified {
    /// All scopes held, also those for reading only.
    pub fn all_scopes(&self) -> Scopes {
        self.scopes.and(self.reads)
    }

    /// The scopes as the record and refusals name them: those for reading only end in `:read`.
    pub fn held(&self) -> Cow<'static, str> {
        match self.reads.is_empty() {
            true => self.scopes.words().into(),
            false => {
                let reads = self.reads.iter().map(|scope| format!("{scope}:read"));
                self.scopes.iter().map(|scope| scope.to_string()).chain(reads).collect::<Vec<_>>().join(" ").into()
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub alg: String,
    #[serde(default)]
    pub kid: Option<String>,
    #[serde(default)]
    pub typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// The claims as they come; a doubled one is an error of the parser.
#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    sub: Value,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    nbf: Value,
    #[serde(default)]
    iat: Value,
    #[serde(default)]
    jti: Value,
    #[serde(default)]
    namespaces: Value,
    #[serde(default)]
    cnf: Value,
}

/// The `kid` a compact token names, unverified: by which key it says that it is signed.
pub fn kid(compact: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(compact.split('.').next()?).ok()?;
    serde_json::from_slice::<Header>(&header).ok()?.kid
}

/// True for a member that is there, whatever its value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Verifier {
    /// Takes the usable keys of a JWKS. None at all is an error: an empty set would refuse everyone at once.
    pub fn new(jwks_json: &str, issuer: &str, audience: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let jwks: Jwks = serde_json::from_str(jwks_json).map_err(|e| Error::Jwks(e.to_string()))?;
        let mut keys = HashMap::new();
        for key in jwks.keys.into_iter().filter_map(|key| serde_json::from_value::<PublicKey>(key).ok()) {
            let decoding = DecodingKey::from_ec_components(&key.x, &key.y);
            let (true, Ok(decoding)) = (key.is_usable(), decoding) else { continue };
            if keys.insert(key.kid.clone(), decoding).is_some() {
                return Err(Error::TwoKeys(key.kid));
            }
        }
        if keys.is_empty() {
            return Err(Error::NoKeys);
        }
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Whether tokens of this key can pass.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// Passes or refuses one compact token at `now`.
    pub fn verify(&self, compact: &str, now: OffsetDateTime) -> Result<Verified, Refusal> {
        let parts = parts(compact)?;
        let payload = parts.payload;
        let kid = self.check_signature(parts)?;
        self.check_claims(&part(payload, NO_CLAIMS)?, kid, now)
    }

    fn check_signature(&self, Parts { header, message, signature, .. }: Parts<'_>) -> Result<String, Refusal> {
        if header.alg != "ES256" {
            return Err(Refusal::Algorithm { held: header.alg });
        }
        let kid = header.kid.ok_or(Refusal::UnknownKey { kid: None })?;
        let Some(key) = self.keys.get(&kid) else { return Err(Refusal::UnknownKey { kid: Some(kid) }) };
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, Algorithm::ES256) {
            Ok(true) => Ok(kid),
            _ => Err(Refusal::Signature),
        }
    }

    fn check_claims(&self, claims: &Payload, kid: String, now: OffsetDateTime) -> Result<Verified, Refusal> {
        let expires = moment(&claims.exp, "exp")?.ok_or(Refusal::MissingClaim("exp"))?;
        let not_before = moment(&claims.nbf, "nbf")?.ok_or(Refusal::MissingClaim("nbf"))?;
        let from = moment(&claims.iat, "iat")?.map_or(not_before, |iat| iat.max(not_before));
        is_current(now, (from, expires), Duration::ZERO)?;
        let issuer = text(&claims.iss, "iss")?;
        if issuer != self.issuer {
            return Err(Refusal::WrongIssuer { held: issuer.to_owned(), wanted: self.issuer.clone() });
        }
        self.check_audience(&claims.aud)?;
        let sub = text(&claims.sub, "sub")?.to_owned();
        let scopes = scopes(&claims.scope)?;
        let jti = id(&claims.jti)?;
        let (namespaces, cnf_x5t) = (namespaces(&claims.namespaces)?, confirmation(&claims.cnf)?);
        let (issuer, reads) = (None, Scopes::default());
        Ok(Verified { sub, scopes, jti, kid, not_before, expires, namespaces, cnf_x5t, issuer, reads })
    }

    /// A string, or a list of strings that names us (RFC 7519 §4.1.3).
    fn check_audience(&self, aud: &Value) -> Result<(), Refusal> {
        match audience_is(aud, |one| one == self.audience)? {
            true => Ok(()),
            false => Err(Refusal::WrongAudience { wanted: self.audience.clone() }),
        }
    }
}

/// Whether a token is good at `now`. Only its beginning may lie ahead, by `leeway`.
pub(super) fn is_current(
    now: OffsetDateTime,
    (from, expires): (OffsetDateTime, OffsetDateTime),
    leeway: Duration,
) -> Result<(), Refusal> {
    if now >= expires {
        return Err(Refusal::Expired { ago: (now - expires).unsigned_abs() });
    }
    if now + leeway < from { Err(Refusal::NotYetValid { from }) } else { Ok(()) }
}

/// The `jti` claim; empty without one.
pub(super) fn id(jti: &Value) -> Result<String, Refusal> {
    if jti.is_null() { Ok(String::new()) } else { text(jti, "jti").map(str::to_owned) }
}

/// Whether the `aud` claim has a name that `ours` accepts.
pub(super) fn audience_is(aud: &Value, ours: impl Fn(&str) -> bool) -> Result<bool, Refusal> {
    match aud {
        Value::Null => Err(Refusal::MissingClaim("aud")),
        Value::String(one) => Ok(ours(one)),
        Value::Array(many) if many.iter().all(Value::is_string) => Ok(many.iter().filter_map(Value::as_str).any(ours)),
        _ => Err(Refusal::BadClaim { claim: "aud", wanted: "a string or a list of strings" }),
    }
}

/// Header, signed part and signature of a compact token, and its payload.
pub(super) fn parts(compact: &str) -> Result<Parts<'_>, Refusal> {
    if compact.len() > MAX_TOKEN {
        return Err(Refusal::Malformed("is larger than 8 KiB"));
    }
    let shape = || Refusal::Malformed("is not three parts separated by dots");
    let (message, signature) = compact.rsplit_once('.').ok_or_else(shape)?;
    // A fourth part would be a dot in the payload, which is no base64url.
    let (header, payload) = message.split_once('.').ok_or_else(shape)?;
    let header: Header = part(header, "header is not a JSON object with alg in base64url")?;
    if header.jwk || header.jku || header.x5u || header.x5c {
        return Err(Refusal::Malformed("brings its own key, which is never accepted"));
    }
    if header.crit {
        return Err(Refusal::Malformed("demands extensions (header crit), which are not supported"));
    }
    Ok(Parts { header, message, payload, signature })
}

/// A compact token, taken apart.
pub(super) struct Parts<'a> {
    pub header: Header,
    pub message: &'a str,
    pub payload: &'a str,
    pub signature: &'a str,
}

pub(super) fn part<T: serde::de::DeserializeOwned>(encoded: &str, why: &'static str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Refusal::Malformed(why))?;
    // JSON is UTF-8 (RFC 8259 §8.1); serde_json alone would not look into members that nobody reads.
    let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::Malformed(why))?;
    serde_json::from_str(text).map_err(|_| Refusal::Malformed(why))
}

pub(super) fn text<'a>(value: &'a Value, claim: &'static str) -> Result<&'a str, Refusal> {
    match value {
        Value::Null => Err(Refusal::MissingClaim(claim)),
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::BadClaim { claim, wanted: "a non-empty string" }),
    }
}

/// A NumericDate within the years 1970 to 9999; strings, negative and huge numbers are refused.
pub(super) fn moment(value: &Value, claim: &'static str) -> Result<Option<OffsetDateTime>, Refusal> {
    if value.is_null() {
        return Ok(None);
    }
    let refused = Refusal::BadClaim { claim, wanted: "a number of seconds since 1970" };
    let seconds = match value {
        Value::Number(number) => number.as_f64().filter(|s| (0.0..=MAX_TIME).contains(s)),
        _ => None,
    };
    // Whole seconds: a fraction is cut, so that exp comes early rather than late.
    let whole = seconds.map(|s| s as i64).ok_or_else(|| refused.clone())?;
    OffsetDateTime::from_unix_timestamp(whole).map(Some).map_err(|_| refused)
}

/// RFC 8693: one string of words. A list is refused in plain words, since other issuers write one.
fn scopes(value: &Value) -> Result<Scopes, Refusal> {
    let held = match value {
        Value::Null => return Err(Refusal::MissingClaim("scope")),
        Value::String(held) => held,
        _ => return Err(Refusal::BadClaim { claim: "scope", wanted: "one string of words separated by spaces" }),
    };
    let scopes = Scopes::parse(held);
    if scopes.is_empty() { Err(Refusal::Scope { held: held.clone() }) } else { Ok(scopes) }
}

fn namespaces(value: &Value) -> Result<Option<Vec<String>>, Refusal> {
    let refused = || Refusal::BadClaim { claim: "namespaces", wanted: "a list of strings" };
    match value {
        Value::Null => Ok(None),
        Value::Array(names) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<Vec<_>>>().map(Some).ok_or_else(refused)
        }
        _ => Err(refused()),
    }
}

/// A binding that can't be read must not become no binding.
pub(super) fn confirmation(value: &Value) -> Result<Option<Confirmation>, Refusal> {
    let refused = Refusal::BadClaim { claim: "cnf", wanted: "an object with x5t#S256" };
    match value {
        Value::Null => Ok(None),
        Value::Object(_) => Confirmation::deserialize(value).map(Some).map_err(|_| refused),
        _ => Err(refused),
    }
}
