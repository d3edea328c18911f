//! Tokens of an issuer that is not the warden: the same order of checks as for the warden's own, by that issuer's keys
//! alone, and its claims read as the settings say.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    IssuerKeys, Mapping, Refusal, Scope, Verified, claimed,
    issuer_keys::name,
    mapping,
    verify::{NO_CLAIMS, Parts, audience_is, confirmation, id, is_current, moment, part, parts, text},
};

/// Subjects of the warden's own: in Temporal's histories and in policy files they mean the warden's tokens.
const RESERVED: [&str; 6] =
    ["temporal-system", "temporal-worker", "temporal-client", "temporal-ui", "temporal-warden", "anonymous"];

/// What is accepted of the issuer, and how its claims are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalRules {
    /// Required `iss`.
    pub issuer: String,
    /// Names of which `aud` must have one.
    pub audiences: Vec<String>,
    /// Accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// How far `nbf` and `iat` may lie ahead; `exp` has none, because Temporal has none.
    pub leeway: Duration,
    /// Where the subject stands.
    pub subject_claim: String,
    /// Where the values stand that are mapped to scopes.
    pub scope_claim: String,
    /// What they are mapped to.
    pub scopes: Vec<Mapping>,
    /// Where the namespaces stand; `None` = tokens are for all.
    pub namespaces_claim: Option<String>,
    /// What those values are mapped to; empty = they are the names.
    pub namespaces: Vec<Mapping>,
}

/// Judges the issuer's tokens.
pub struct ExternalVerifier {
    rules: ExternalRules,
    issuer: Arc<str>,
    keys: Arc<IssuerKeys>,
}

/// Who issued a compact token, by its own word: by whose keys it is to be judged.
pub fn issuer(compact: &str) -> Option<String> {
    claimed(compact).ok()?.get("iss")?.as_str().map(str::to_owned)
}

impl ExternalVerifier {
    /// By these keys.
    pub fn new(rules: ExternalRules, keys: Arc<IssuerKeys>) -> Self {
        Self { issuer: rules.issuer.as_str().into(), rules, keys }
    }

    /// Whether tokens of this key can pass.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.knows(kid)
    }

    /// Passes or refuses one compact token at `now`. One that passes may hold no scope: then its bearer is known, and
    /// may call nothing but what a policy file opens to it.
    pub fn verify(&self, compact: &str, now: OffsetDateTime) -> Result<Verified, Refusal> {
        let parts = parts(compact)?;
        let payload = parts.payload;
        let kid = self.check_signature(parts)?;
        self.check_claims(&part(payload, NO_CLAIMS)?, kid, now)
    }

    fn check_signature(&self, Parts { header, message, signature, .. }: Parts<'_>) -> Result<String, Refusal> {
        if header.typ.as_deref().is_some_and(|typ| !is_for_access(typ)) {
            return Err(Refusal::Type { held: header.typ.unwrap_or_default() });
        }
        let algorithm = self.rules.algorithms.iter().copied().find(|known| name(*known) == header.alg);
        let Some(algorithm) = algorithm else { return Err(Refusal::Algorithm { held: header.alg }) };
        // OpenID Connect Core §10.1: with one key alone an issuer need not name it.
        let kid = header.kid.or_else(|| self.keys.only()).ok_or(Refusal::UnknownKey { kid: None })?;
        let Some(key) = self.keys.get(&kid) else { return Err(Refusal::UnknownKey { kid: Some(kid) }) };
        if !key.algorithms.contains(&algorithm) {
            return Err(Refusal::Algorithm { held: header.alg });
        }
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, algorithm) {
            Ok(true) => Ok(kid),
            _ => Err(Refusal::Signature),
        }
    }

    fn check_claims(&self, claims: &Map<String, Value>, kid: String, now: OffsetDateTime) -> Result<Verified, Refusal> {
        let of = |name: &str| claims.get(name).unwrap_or(&Value::Null);
        let rules = &self.rules;
        let expires = moment(of("exp"), "exp")?.ok_or(Refusal::MissingClaim("exp"))?;
        let not_before = moment(of("nbf"), "nbf")?.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let from = moment(of("iat"), "iat")?.map_or(not_before, |iat| iat.max(not_before));
        is_current(now, (from, expires), rules.leeway)?;
        let issuer = text(of("iss"), "iss")?;
        if issuer != rules.issuer {
            return Err(Refusal::WrongIssuer { held: issuer.to_owned(), wanted: rules.issuer.clone() });
        }
        if !audience_is(of("aud"), |one| rules.audiences.iter().any(|ours| ours == one))? {
            return Err(Refusal::WrongAudience { wanted: rules.audiences.join("\" or \"") });
        }
        let sub = self.subject(claims)?;
        let (scopes, reads) = mapping::scopes(&self.values(claims, &rules.scope_claim), &rules.scopes);
        let jti = id(of("jti"))?;
        let namespaces = self.namespaces(claims)?.filter(|_| !scopes.contains(Scope::System));
        let (cnf_x5t, issuer) = (confirmation(of("cnf"))?, Some(self.issuer.clone()));
        Ok(Verified { sub, scopes, jti, kid, not_before, expires, namespaces, cnf_x5t, issuer, reads })
    }

    fn subject(&self, claims: &Map<String, Value>) -> Result<String, Refusal> {
        let claim = &self.rules.subject_claim;
        let held = mapping::claim(claims, claim).and_then(Value::as_str).filter(|sub| !sub.is_empty());
        let setting = "WARDEN_EXTERNAL_SUBJECT_CLAIM";
        match held.ok_or_else(|| Refusal::NoMapped { claim: claim.clone(), setting })? {
            sub if RESERVED.contains(&sub) => Err(Refusal::Reserved { sub: sub.to_owned() }),
            sub => Ok(sub.to_owned()),
        }
    }

    /// A token without the claim is limited to no namespace at all, not to none.
    fn namespaces(&self, claims: &Map<String, Value>) -> Result<Option<Vec<String>>, Refusal> {
        let Some(claim) = &self.rules.namespaces_claim else { return Ok(None) };
        Ok(Some(mapping::namespaces(&self.values(claims, claim), &self.rules.namespaces)))
    }

    fn values<'a>(&self, claims: &'a Map<String, Value>, path: &str) -> Vec<&'a str> {
        mapping::texts(mapping::claim(claims, path))
    }
}

/// Access tokens (RFC 9068) and ID tokens; what else an issuer signs (logout tokens, events, proofs) is for others.
fn is_for_access(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    ["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}
