//! Short tokens of the gateway's own, signed with the per-boot internal key that Temporal trusts as its second source.

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quick_cache::sync::Cache;
use time::{Duration, OffsetDateTime};

use super::{audit, link};
use crate::tokens::{Claims, Scope, SigningKey, Verified};

/// Life of such a token.
const LIFE: Duration = Duration::seconds(60);
/// One made for a caller serves its calls as long as it lives this long at least: Temporal looks at it once a call.
const LEFT: Duration = Duration::seconds(30);
/// Callers whose tokens are remembered at once.
const CACHED: usize = 4096;
/// Dated back, because Temporal allows no leeway.
const BACKDATE: Duration = Duration::seconds(5);

/// Signs for one version of the material.
pub(super) struct Signer {
    key: EncodingKey,
    kid: String,
    issuer: String,
    audience: String,
    made: Cache<Wanted, Made>,
}

/// What Temporal is to be told of a caller.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Wanted {
    sub: String,
    permissions: Vec<String>,
    /// End of the caller's own token: never outlived.
    until: OffsetDateTime,
}

/// A token made for it, and its end.
#[derive(Clone)]
struct Made {
    bearer: HeaderValue,
    expires: OffsetDateTime,
}

impl Signer {
    /// Reads the internal key.
    pub(super) fn new(pem: &str, auth: &link::Auth) -> Result<Self, String> {
        let kid = SigningKey::from_pem(pem).map_err(|e| format!("the internal key {e}"))?.public().kid.clone();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| format!("the internal key: {e}"))?;
        let made = Cache::new(CACHED);
        Ok(Self { key, kid, issuer: auth.issuer.clone(), audience: auth.audience.clone(), made })
    }

    /// An `authorization` value in the name of the gateway itself, with one permission of Temporal's authorizer.
    pub(super) fn bearer(&self, sub: &str, permission: &str, now: OffsetDateTime) -> Option<HeaderValue> {
        self.sign(sub, vec![permission.to_owned()], now, now + LIFE)
    }

    /// One for the bearer of another issuer's token, which Temporal does not know: same subject, the role that the
    /// method needs within the scopes and namespaces held, never longer than theirs.
    pub(super) fn on_behalf(&self, of: &Verified, reads: bool, now: OffsetDateTime) -> Option<HeaderValue> {
        let wanted = Wanted { sub: of.sub.clone(), permissions: permissions(of, reads), until: of.expires };
        let fresh = |made: &Made| made.expires == of.expires || made.expires - now >= LEFT;
        if let Some(made) = self.made.get(&wanted).filter(|made| now < made.expires && fresh(made)) {
            return Some(made.bearer);
        }
        let expires = of.expires.min(now + LIFE);
        let bearer = self.sign(&of.sub, wanted.permissions.clone(), now, expires)?;
        self.made.insert(wanted, Made { bearer: bearer.clone(), expires });
        Some(bearer)
    }

    /// One in the caller's name that Temporal refuses nothing, for what a rule or `report` mode lets pass.
    pub(super) fn override_for(&self, token: Option<&Verified>, now: OffsetDateTime) -> Option<HeaderValue> {
        let (sub, until) = token.map_or(("anonymous", now + LIFE), |token| (token.sub.as_str(), token.expires));
        self.sign(sub, vec!["temporal-system:admin".to_owned()], now, until.min(now + LIFE))
    }

    fn sign(
        &self,
        sub: &str,
        permissions: Vec<String>,
        now: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Option<HeaderValue> {
        let issued = (now - BACKDATE).unix_timestamp();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: sub.to_owned(),
            scope: String::new(),
            iat: issued,
            nbf: issued,
            exp: expires.unix_timestamp(),
            jti: audit::id(now),
            permissions,
            namespaces: None,
            cnf: None,
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).ok()?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What Temporal's own authorizer is told of another issuer's token: its second check stands on the method as well.
fn permissions(of: &Verified, reads: bool) -> Vec<String> {
    let role = if reads { "read" } else { "write" };
    match &of.namespaces {
        _ if of.scopes.contains(Scope::System) => vec!["temporal-system:admin".to_owned()],
        None => vec![format!("temporal-system:{role}")],
        Some(names) => names.iter().map(|name| format!("{name}:{role}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AuthMode,
        tokens::{Scopes, claimed},
    };

    fn auth() -> link::Auth {
        link::Auth {
            enabled: true,
            mode: AuthMode::Enforce,
            issuer: "temporal-warden".to_owned(),
            audience: "temporal".to_owned(),
            jwks: String::new(),
            binding: false,
            revocations: link::Revocations::default(),
            rules: Vec::new(),
            external: None,
        }
    }

    fn signer() -> Signer {
        Signer::new(SigningKey::generate().unwrap().to_pem().expose(), &auth()).unwrap()
    }

    fn theirs(scope: &str, expires: OffsetDateTime) -> Verified {
        Verified {
            sub: "ada".to_owned(),
            scopes: Scopes::parse(scope),
            jti: String::new(),
            kid: String::new(),
            not_before: OffsetDateTime::UNIX_EPOCH,
            expires,
            namespaces: None,
            cnf_x5t: None,
            issuer: Some("https://issuer".into()),
            reads: Scopes::default(),
        }
    }

    fn said(bearer: &HeaderValue) -> serde_json::Map<String, serde_json::Value> {
        claimed(bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap()).unwrap()
    }

    #[test]
    fn the_upstream_token_has_their_subject_the_role_of_the_method_and_never_outlives_theirs() {
        let (signer, now) = (signer(), OffsetDateTime::UNIX_EPOCH + Duration::days(20_000));
        for (left, life) in [(Duration::seconds(7), 7), (Duration::hours(1), 60)] {
            let token = theirs("temporal-client", now + left);
            let claims = said(&signer.on_behalf(&token, false, now).unwrap());
            assert_eq!(claims["exp"].as_i64(), Some(now.unix_timestamp() + life), "{left}");
            assert_eq!(claims["sub"], "ada");
            assert_eq!(claims["permissions"], serde_json::json!(["temporal-system:write"]));
        }
        let limited = Verified { namespaces: Some(vec!["a".to_owned()]), ..theirs("temporal-client", now + LIFE) };
        assert_eq!(permissions(&limited, true), ["a:read"]);
        assert_eq!(permissions(&theirs("temporal-system", now), false), ["temporal-system:admin"]);
        assert_eq!(permissions(&Verified { namespaces: Some(Vec::new()), ..limited }, false), [""; 0]);
    }

    #[test]
    fn it_is_made_anew_before_its_end_and_for_another_role() {
        let (signer, now) = (signer(), OffsetDateTime::UNIX_EPOCH + Duration::days(20_000));
        let token = theirs("temporal-client", now + Duration::hours(1));
        let jti = |reads, at| said(&signer.on_behalf(&token, reads, at).unwrap())["jti"].clone();
        let first = jti(false, now);
        assert_eq!(jti(false, now + Duration::seconds(29)), first);
        assert_ne!(jti(true, now), first);
        assert_ne!(jti(false, now + Duration::seconds(31)), first);
        let ending = theirs("temporal-client", now + Duration::seconds(5));
        let at =
            |seconds| said(&signer.on_behalf(&ending, false, now + Duration::seconds(seconds)).unwrap())["jti"].clone();
        assert_eq!(at(0), at(4), "theirs ends anyway: signing again gives nothing");
    }

    #[test]
    fn a_key_that_cannot_sign_is_refused_before_anything_is_switched() {
        let refused = Signer::new("no key", &auth()).map(|_| ()).unwrap_err();
        assert_eq!(refused, "the internal key holds no private key in PEM");
    }
}
