//! Short tokens of the gateway's own, signed with the per-boot internal key that Temporal trusts as its second source.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use time::{Duration, OffsetDateTime};

use super::{audit, link};
use crate::tokens::{Claims, SigningKey};

/// Life of such a token.
const LIFE: Duration = Duration::seconds(60);
/// Dated back, because Temporal allows no leeway.
const BACKDATE: Duration = Duration::seconds(5);

/// Signs for one version of the material.
pub(super) struct Signer {
    key: EncodingKey,
    kid: String,
    issuer: String,
    audience: String,
}

impl Signer {
    /// Reads the internal key.
    pub(super) fn new(pem: &str, auth: &link::Auth) -> Result<Self, String> {
        let kid = SigningKey::from_pem(pem).map_err(|e| format!("the internal key {e}"))?.public().kid.clone();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| format!("the internal key: {e}"))?;
        Ok(Self { key, kid, issuer: auth.issuer.clone(), audience: auth.audience.clone() })
    }

    /// An `authorization` value for `sub` with one permission of Temporal's authorizer.
    pub(super) fn bearer(&self, sub: &str, permission: &str, now: OffsetDateTime) -> Option<http::HeaderValue> {
        let issued = (now - BACKDATE).unix_timestamp();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: sub.to_owned(),
            scope: String::new(),
            iat: issued,
            nbf: issued,
            exp: (now + LIFE).unix_timestamp(),
            jti: audit::id(now),
            permissions: vec![permission.to_owned()],
            namespaces: None,
            cnf: None,
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).ok()?;
        let mut value = http::HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::AuthMode, gateway::link::Revocations};

    #[test]
    fn a_key_that_cannot_sign_is_refused_before_anything_is_switched() {
        let auth = link::Auth {
            enabled: true,
            mode: AuthMode::Enforce,
            binding: false,
            jwks: String::new(),
            issuer: String::new(),
            audience: String::new(),
            revocations: Revocations::default(),
            rules: Vec::new(),
        };
        let refused = Signer::new("no key", &auth).map(|_| ()).unwrap_err();
        assert_eq!(refused, "the internal key holds no private key in PEM");
    }
}
