//! Who calls: the token in `authorization` and the certificate of the connection.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use quick_cache::sync::Cache;
use time::OffsetDateTime;

use super::{
    link::{Auth, External, Revocations},
    metrics::Denial,
};
use crate::tokens::{self, ExternalVerifier, IssuerKeys, Verified, Verifier};

/// Verified tokens remembered at once.
const CACHED: usize = 10_000;

/// What a caller brought.
#[derive(Debug, Clone)]
pub(super) enum Presented {
    /// No `authorization` header.
    Nothing,
    /// One that does not pass.
    Refused(Bad),
    /// One whose key is not at hand; it may be once the issuer has been asked.
    Undecided(Bad),
    /// A token that passed.
    Token(Arc<Verified>),
}

impl Presented {
    /// The token, if it passed.
    pub(super) fn token(&self) -> Option<&Arc<Verified>> {
        match self {
            Self::Token(token) => Some(token),
            Self::Nothing | Self::Refused(_) | Self::Undecided(_) => None,
        }
    }
}

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    /// How it is counted.
    pub class: Denial,
    /// In words.
    pub why: String,
}

impl Bad {
    fn new(class: Denial, why: impl ToString) -> Self {
        Self { class, why: why.to_string() }
    }
}

impl From<tokens::Refusal> for Bad {
    fn from(refusal: tokens::Refusal) -> Self {
        Self::of(refusal, Denial::BadToken)
    }
}

impl Bad {
    fn of(refusal: tokens::Refusal, otherwise: Denial) -> Self {
        let is_expired = matches!(refusal, tokens::Refusal::Expired { .. });
        Self::new(if is_expired { Denial::ExpiredToken } else { otherwise }, refusal)
    }

    /// The issuer's keys can't be had.
    pub(super) fn without_keys(why: impl std::fmt::Display) -> Self {
        Self::new(Denial::Undecided, format_args!("the keys of the token's issuer cannot be had: {why}"))
    }
}

/// The token that a connection brought last: nearly always it brings the same again, and its bytes are held by HTTP/2's
/// table of headers anyway. Then they are only compared.
#[derive(Default)]
pub(super) struct Last(Mutex<Option<Seen>>);

struct Seen {
    /// Of the keys and revocations by which it passed.
    edition: u64,
    header: HeaderValue,
    token: Arc<Verified>,
}

impl Last {
    /// What the headers of a call bring at `now`, judged by the `authenticator` of `edition`.
    pub(super) fn present(
        &self,
        (authenticator, edition): (&Authenticator, u64),
        headers: &HeaderMap,
        now: OffsetDateTime,
    ) -> Presented {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (values.next(), values.next()) else { return authenticator.present(headers, now) };
        match &*last {
            Some(seen) if seen.edition == edition && is_same(&seen.header, header) && now < seen.token.expires => {
                Presented::Token(seen.token.clone())
            }
            _ => {
                let presented = authenticator.present(headers, now);
                if let Presented::Token(token) = &presented {
                    *last = Some(Seen { edition, header: header.clone(), token: token.clone() });
                }
                presented
            }
        }
    }
}

/// HTTP/2 gives a header that its table has without another copy: then there is nothing to compare.
fn is_same(one: &HeaderValue, other: &HeaderValue) -> bool {
    std::ptr::eq(one.as_bytes(), other.as_bytes()) || one == other
}

/// Judges tokens by the keys and revocations of one version of the material, and the keys of an external issuer as they
/// are at that time.
///
/// The memory of verified tokens belongs to it too: a new one starts empty, so that a removed key or a revocation ends
/// its tokens at once. It is keyed by hash: no bearer token is kept.
pub(super) struct Authenticator {
    verifier: Option<Arc<Verifier>>,
    other: Option<Other>,
    revocations: Revocations,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// Another issuer.
struct Other {
    external: External,
    keys: Option<Arc<IssuerKeys>>,
    verifier: Option<ExternalVerifier>,
}

impl Other {
    fn new(external: &External, keys: Option<Arc<IssuerKeys>>) -> Self {
        let verifier = keys.clone().map(|keys| ExternalVerifier::new(external.rules.clone(), keys));
        Self { external: external.clone(), keys, verifier }
    }

    /// Keys of a file never come later.
    fn is_fetched(&self) -> bool {
        self.external.jwks.is_none()
    }
}

impl Authenticator {
    /// Reads the keys; with `TEMPORAL_AUTH_ENABLED=false` there need be none. `fetched` are those of an external issuer.
    pub(super) fn new(auth: &Auth, fetched: Option<Arc<IssuerKeys>>) -> Result<Self, String> {
        let verifier = auth.enabled.then(|| Verifier::new(&auth.jwks, &auth.issuer, &auth.audience)).transpose();
        let verifier = verifier.map_err(|e| format!("the JWKS {e}"))?.map(Arc::new);
        let other = auth.external.as_ref().filter(|_| auth.enabled);
        let other = other.map(|external| {
            let named = |e| format!("WARDEN_EXTERNAL_JWKS_FILE: the file {e}");
            let own = external.jwks.as_deref().map(|jwks| IssuerKeys::parse(jwks).map(Arc::new)).transpose();
            own.map_err(named).map(|own| Other::new(external, own.or(fetched)))
        });
        let (other, revocations) = (other.transpose()?, auth.revocations.clone());
        Ok(Self { verifier, other, revocations, verified: Cache::new(CACHED) })
    }

    /// The same with other keys of the external issuer.
    pub(super) fn with(&self, fetched: Option<Arc<IssuerKeys>>) -> Self {
        let other = self.other.as_ref().map(|other| match other.is_fetched() {
            true => Other::new(&other.external, fetched),
            false => Other::new(&other.external, other.keys.clone()),
        });
        let (verifier, revocations) = (self.verifier.clone(), self.revocations.clone());
        Self { verifier, other, revocations, verified: Cache::new(CACHED) }
    }

    /// The external issuer's name and the keys at hand.
    pub(super) fn external(&self) -> Option<(&External, Option<&Arc<IssuerKeys>>)> {
        self.other.as_ref().map(|other| (&other.external, other.keys.as_ref()))
    }

    /// Whether a certificate was revoked.
    pub(super) fn is_revoked(&self, serial: &str) -> bool {
        self.revocations.serials.contains(serial)
    }

    /// Whether a token that passed under older material still would; its times are those of the start of its call.
    pub(super) fn still_accepts(&self, token: &Verified) -> Result<(), Bad> {
        let knows = match (&self.verifier, &token.issuer, &self.other) {
            (None, ..) => return Ok(()),
            (Some(verifier), None, _) => verifier.knows(&token.kid),
            // Keys that are too old to judge by say nothing against what they let pass.
            (_, Some(issuer), Some(other)) => {
                other.external.rules.issuer == **issuer
                    && other.verifier.as_ref().is_none_or(|verifier| verifier.knows(&token.kid))
            }
            (_, Some(_), None) => false,
        };
        match knows {
            true => self.not_revoked(token),
            false => Err(Bad::new(Denial::BadToken, "the key that signed the token is no longer trusted")),
        }
    }

    fn not_revoked(&self, token: &Verified) -> Result<(), Bad> {
        match self.revocations.jti.contains(&token.jti) || self.revocations.subjects.contains(&token.sub) {
            true => Err(Bad::new(Denial::RevokedToken, "the token was revoked")),
            false => Ok(()),
        }
    }

    /// What the headers of a call bring at `now`.
    pub(super) fn present(&self, headers: &HeaderMap, now: OffsetDateTime) -> Presented {
        match bearer(headers) {
            Ok(None) => Presented::Nothing,
            Ok(Some(token)) => self.token(token, now).unwrap_or_else(|presented| presented),
            Err(why) => Presented::Refused(Bad::new(Denial::BadToken, why)),
        }
    }

    fn token(&self, compact: &str, now: OffsetDateTime) -> Result<Presented, Presented> {
        let unchecked = || Presented::Refused(Bad::new(Denial::BadToken, "tokens are not checked here"));
        let verifier = self.verifier.as_ref().ok_or_else(unchecked)?;
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, compact.as_bytes()).as_ref());
        if let Some(known) = self.verified.get(&key).filter(|known| now < known.expires) {
            return Ok(Presented::Token(known));
        }
        let verified = match self.other_of(compact) {
            // By the issuer's own word, and then by its keys alone: no key of one issuer ever vouches for the other.
            Some(other) => other.verify(compact, now)?,
            None => verifier.verify(compact, now).map_err(|refusal| Presented::Refused(refusal.into()))?,
        };
        let verified = Arc::new(verified);
        self.not_revoked(&verified).map_err(Presented::Refused)?;
        self.verified.insert(key, verified.clone());
        Ok(Presented::Token(verified))
    }

    fn other_of(&self, compact: &str) -> Option<&Other> {
        let other = self.other.as_ref()?;
        (tokens::issuer(compact).as_deref() == Some(&other.external.rules.issuer)).then_some(other)
    }
}

impl Other {
    fn verify(&self, compact: &str, now: OffsetDateTime) -> Result<Verified, Presented> {
        let Some(verifier) = &self.verifier else {
            return Err(Presented::Undecided(Bad::without_keys("none are at hand")));
        };
        verifier.verify(compact, now).map_err(|refusal| match &refusal {
            tokens::Refusal::UnknownKey { kid: Some(_) } if self.is_fetched() => {
                Presented::Undecided(Bad::of(refusal, Denial::ExternalToken))
            }
            _ => Presented::Refused(Bad::of(refusal, Denial::ExternalToken)),
        })
    }
}

/// The one bearer token, if there is an `authorization` header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("more than one authorization header");
    }
    let text = value.to_str().map_err(|_| "authorization header is not ASCII text")?;
    // Temporal wants exactly one space and would refuse all else itself, without a reason.
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.contains([' ', '\t']) => {
            Ok(Some(token))
        }
        _ => Err("authorization header is not of the form `Bearer TOKEN`"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{config::AuthMode, tokens::Scopes};

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_expired_token_is_told_from_every_other_by_its_kind() {
        let expired = tokens::Refusal::Expired { ago: std::time::Duration::from_secs(41) };
        assert_eq!(Bad::from(expired), Bad { class: Denial::ExpiredToken, why: "token expired 41s ago".to_owned() });
        assert_eq!(Bad::from(tokens::Refusal::Signature).class, Denial::BadToken);
        let named = tokens::Refusal::WrongIssuer { held: "token expired".to_owned(), wanted: String::new() };
        assert_eq!(Bad::from(named).class, Denial::BadToken);
    }

    #[test]
    fn the_scheme_may_be_written_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c"] {
            assert_eq!(bearer(&headers(&[value])), Ok(Some("a.b.c")), "{value}");
        }
    }

    #[test]
    fn a_token_seen_before_is_looked_at_again_with_new_material_and_once_it_has_expired() {
        let auth = Auth {
            enabled: false,
            mode: AuthMode::Enforce,
            binding: false,
            jwks: String::new(),
            issuer: String::new(),
            audience: String::new(),
            revocations: Revocations::default(),
            rules: Vec::new(),
            external: None,
        };
        // It checks no tokens: whatever passes was remembered.
        let authenticator = Authenticator::new(&auth, None).unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        let token = Arc::new(Verified {
            sub: String::new(),
            scopes: Scopes::default(),
            jti: String::new(),
            kid: String::new(),
            not_before: now,
            expires: now + Duration::from_secs(9),
            namespaces: None,
            cnf_x5t: None,
            issuer: None,
            reads: Scopes::default(),
        });
        let header = HeaderValue::from_static("Bearer a.b.c");
        let last = Last(Mutex::new(Some(Seen { edition: 1, header, token })));
        let passes = |edition, headers, now| {
            matches!(last.present((&authenticator, edition), &headers, now), Presented::Token(_))
        };
        let late = now + Duration::from_secs(9);
        assert!(passes(1, headers(&["Bearer a.b.c"]), now));
        for (version, values, at) in [
            (2, &["Bearer a.b.c"][..], now),
            (1, &["Bearer a.b.c"], late),
            (1, &["Bearer a.b.d"], now),
            (1, &["Bearer a.b.c", "Bearer a.b.c"], now),
            (1, &[], now),
        ] {
            assert!(!passes(version, headers(values), at), "{version} {values:?} {at}");
        }
    }

    #[test]
    fn two_headers_other_schemes_and_bare_tokens_are_refused() {
        assert_eq!(bearer(&headers(&["Bearer a", "Bearer a"])), Err("more than one authorization header"));
        for value in ["Basic a", "a.b.c", "", "Bearer  a.b.c", "Bearer a.b.c ", "Bearer a.b.c d", "Bearer\ta.b.c"] {
            let why = "authorization header is not of the form `Bearer TOKEN`";
            assert_eq!(bearer(&headers(&[value])), Err(why), "{value}");
        }
        let foreign = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe9").unwrap())]);
        assert_eq!(bearer(&foreign), Err("authorization header is not ASCII text"));
        assert_eq!(bearer(&headers(&[])), Ok(None));
    }
}
