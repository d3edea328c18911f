//! Signing keys, their names (RFC 7638) and the JWKS (RFC 7517).

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::{pki::Key, secret::Secret};

/// A key that signs tokens with ES256.
pub struct SigningKey {
    key: Key,
    encoding: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// A new P-256 key.
    pub fn generate() -> Result<Self, Error> {
        Self::new(Key::generate()?)
    }

    /// Reads PKCS#8 (or SEC1) PEM.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        Self::new(Key::from_pem(pem)?)
    }

    fn new(key: Key) -> Result<Self, Error> {
        let public = PublicKey::from_point(key.public_point())?;
        let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).map_err(|_| Error::NotP256)?;
        Ok(Self { key, encoding, public })
    }

    /// PKCS#8 PEM.
    pub fn to_pem(&self) -> Secret<String> {
        self.key.to_pem()
    }

    /// SPKI PEM of the public half.
    pub fn public_pem(&self) -> String {
        self.key.public_pem()
    }

    /// The public half as it stands in a JWKS.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

/// A public ES256 key as it stands in a JWKS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    kty: String,
    crv: String,
    pub(super) x: String,
    pub(super) y: String,
    #[serde(default = "es256")]
    alg: String,
    #[serde(default = "signature", rename = "use")]
    usage: String,
    /// Name of the key: its RFC 7638 thumbprint when the warden made it.
    pub kid: String,
}

fn es256() -> String {
    "ES256".to_owned()
}

fn signature() -> String {
    "sig".to_owned()
}

impl PublicKey {
    fn from_point(point: &[u8]) -> Result<Self, Error> {
        let [4, coordinates @ ..] = point else { return Err(Error::NotP256) };
        if coordinates.len() != 64 {
            return Err(Error::NotP256);
        }
        let (x, y) = coordinates.split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let kid = thumbprint(&x, &y);
        Ok(Self { kty: "EC".to_owned(), crv: "P-256".to_owned(), x, y, alg: es256(), usage: signature(), kid })
    }

    /// Whether tokens can be verified with it: P-256, ES256, for signatures, both coordinates whole.
    pub(super) fn is_usable(&self) -> bool {
        let whole = |c: &str| URL_SAFE_NO_PAD.decode(c).is_ok_and(|bytes| bytes.len() == 32);
        let kind = (self.kty.as_str(), self.crv.as_str(), self.alg.as_str(), self.usage.as_str());
        kind == ("EC", "P-256", "ES256", "sig") && whole(&self.x) && whole(&self.y)
    }
}

/// RFC 7638: SHA-256 over the required members in lexical order.
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// The JWKS document of these keys.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
    let keys: Vec<_> = keys.into_iter().collect();
    format!("{:#}\n", serde_json::json!({ "keys": keys }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_the_one_other_libraries_compute() {
        let key = SigningKey::generate().unwrap();
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(key.encoding(), jsonwebtoken::Algorithm::ES256).unwrap();
        let theirs = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(key.public().kid, theirs);
    }

    #[test]
    fn a_key_of_another_curve_is_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        assert!(matches!(SigningKey::from_pem(&p384), Err(Error::NotP256)));
    }
}
