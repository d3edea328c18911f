//! Signing keys, their names (RFC 7638) and the JWKS (RFC 7517).

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Names of all keys of a JWKS; none when it is not one.
pub fn kids(document: &str) -> BTreeSet<String> {
    let keys = keys_of(document).unwrap_or_default();
    keys.iter().filter_map(|key| key.get("kid")?.as_str().map(str::to_owned)).collect()
}

/// The document with `key` in front; every other key stays as it is, whoever put it there.
pub fn jwks_with(document: &str, key: &PublicKey) -> Result<String, Error> {
    let mut keys = keys_of(document)?;
    keys.retain(|other| other.get("kid").and_then(Value::as_str) != Some(&key.kid));
    keys.insert(0, serde_json::json!(key));
    Ok(format!("{:#}\n", serde_json::json!({ "keys": keys })))
}

/// The document without the keys of these names.
pub fn jwks_without(document: &str, gone: &BTreeSet<String>) -> Result<String, Error> {
    let mut keys = keys_of(document)?;
    keys.retain(|key| key.get("kid").and_then(Value::as_str).is_none_or(|kid| !gone.contains(kid)));
    Ok(format!("{:#}\n", serde_json::json!({ "keys": keys })))
}

pub(super) fn keys_of(document: &str) -> Result<Vec<Value>, Error> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    serde_json::from_str::<Document>(document).map(|d| d.keys).map_err(|e| Error::Jwks(e.to_string()))
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
    fn keys_come_and_go_and_a_strangers_key_stays_as_it_is() {
        let [old, new] = [(); 2].map(|()| SigningKey::generate().unwrap());
        let stranger = serde_json::json!({ "kty": "RSA", "kid": "theirs", "n": "AQAB", "e": "AQAB", "x5t": "kept" });
        let document = serde_json::json!({ "keys": [old.public(), stranger] }).to_string();
        let both = jwks_with(&document, new.public()).unwrap();
        let (old_kid, new_kid) = (old.public().kid.clone(), new.public().kid.clone());
        assert_eq!(kids(&both), BTreeSet::from([old_kid.clone(), new_kid.clone(), "theirs".to_owned()]));
        assert_eq!(keys_of(&both).unwrap()[0]["kid"], *new_kid);
        let after = jwks_without(&both, &BTreeSet::from([old_kid])).unwrap();
        assert_eq!(kids(&after), BTreeSet::from([new_kid, "theirs".to_owned()]));
        assert_eq!(keys_of(&after).unwrap()[1], stranger);
        let refused = jwks_with("{}", new.public()).unwrap_err().to_string();
        assert!(refused.starts_with("is not a JWKS (RFC 7517): missing field `keys`"), "{refused}");
        assert!(kids("garbage").is_empty());
    }

    #[test]
    fn a_key_of_another_curve_is_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let refused = SigningKey::from_pem(&p384).map(|_| ()).unwrap_err().to_string();
        assert_eq!(refused, "is not a P-256 key, which ES256 needs");
    }
}
