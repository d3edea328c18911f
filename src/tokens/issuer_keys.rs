//! Keys of another issuer: what of its JWKS (RFC 7517) can verify a token, and by which algorithms.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::Error;

/// All that may ever be accepted: asymmetric ones, each with one kind of key.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
/// Most keys of one issuer; real ones have two to ten.
const MOST: usize = 64;
/// RSA below 2048 bits is refused (RFC 7518 §3.3), above 8192 it costs too much.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Usable keys by name.
#[derive(Default)]
pub struct IssuerKeys {
    keys: HashMap<String, IssuerKey>,
}

/// One of them.
pub(super) struct IssuerKey {
    pub(super) decoding: DecodingKey,
    /// One, except for RSA keys that do not say which.
    pub(super) algorithms: Vec<Algorithm>,
}

impl IssuerKeys {
    /// The usable keys of a JWKS; keys for encryption, symmetric ones and kinds that are not known are passed over.
    /// None at all is an error: an empty set would refuse everyone at once.
    pub fn parse(document: &str) -> Result<Self, Error> {
        #[derive(serde::Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }
        let jwks: Jwks = serde_json::from_str(document).map_err(|e| Error::Jwks(e.to_string()))?;
        let mut keys = HashMap::new();
        for (kid, key) in jwks.keys.iter().filter_map(usable).take(MOST) {
            if keys.insert(kid.clone(), key).is_some() {
                return Err(Error::TwoKeys(kid));
            }
        }
        if keys.is_empty() { Err(Error::NoIssuerKeys) } else { Ok(Self { keys }) }
    }

    /// Their names, sorted.
    pub fn kids(&self) -> Vec<String> {
        let mut kids: Vec<_> = self.keys.keys().cloned().collect();
        kids.sort_unstable();
        kids
    }

    /// Whether tokens of this key can pass.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// The name of the only one.
    pub(super) fn only(&self) -> Option<String> {
        self.keys.keys().next().filter(|_| self.keys.len() == 1).cloned()
    }

    pub(super) fn get(&self, kid: &str) -> Option<&IssuerKey> {
        self.keys.get(kid)
    }
}

fn usable(key: &Value) -> Option<(String, IssuerKey)> {
    let member = |name: &str| key.get(name).and_then(Value::as_str);
    let kid = member("kid").filter(|kid| !kid.is_empty())?;
    if key.get("use").is_some_and(|usage| usage != "sig") || key.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return None;
    }
    let (decoding, of_kind) = match (member("kty")?, member("crv")) {
        ("RSA", _) => (rsa(member("n")?, member("e")?)?, &[Algorithm::RS256, Algorithm::PS256][..]),
        ("EC", Some("P-256")) => (point(member("x")?, member("y")?, 32)?, &[Algorithm::ES256][..]),
        ("EC", Some("P-384")) => (point(member("x")?, member("y")?, 48)?, &[Algorithm::ES384][..]),
        ("OKP", Some("Ed25519")) => {
            let x = member("x").filter(|x| bytes(x) == Some(32))?;
            (DecodingKey::from_ed_components(x).ok()?, &[Algorithm::EdDSA][..])
        }
        _ => return None,
    };
    let algorithms = match key.get("alg") {
        None => of_kind.to_vec(),
        Some(said) => of_kind.iter().copied().filter(|known| said.as_str() == Some(name(*known))).collect(),
    };
    (!algorithms.is_empty()).then(|| (kid.to_owned(), IssuerKey { decoding, algorithms }))
}

fn verifies(ops: &Value) -> bool {
    ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"))
}

fn bytes(text: &str) -> Option<usize> {
    URL_SAFE_NO_PAD.decode(text).ok().map(|bytes| bytes.len())
}

fn rsa(n: &str, e: &str) -> Option<DecodingKey> {
    let modulus = URL_SAFE_NO_PAD.decode(n).ok()?;
    let length = modulus.iter().skip_while(|byte| **byte == 0).count();
    let good = MODULUS.contains(&length) && (1..=8).contains(&bytes(e)?);
    good.then(|| DecodingKey::from_rsa_components(n, e).ok()).flatten()
}

fn point(x: &str, y: &str, size: usize) -> Option<DecodingKey> {
    let whole = bytes(x) == Some(size) && bytes(y) == Some(size);
    whole.then(|| DecodingKey::from_ec_components(x, y).ok()).flatten()
}

/// The word of an algorithm in `alg`.
pub(super) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::PS256 => "PS256",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::SigningKey;

    fn rsa_of(bytes: usize) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(vec![0xff; bytes]), "e": "AQAB" })
    }

    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    #[test]
    fn a_key_has_the_algorithms_of_its_kind_and_only_the_one_it_names() {
        let algorithms = |key: Value| usable(&key).map(|(_, key)| key.algorithms);
        assert_eq!(algorithms(rsa_of(256)), Some(vec![Algorithm::RS256, Algorithm::PS256]));
        assert_eq!(algorithms(with(rsa_of(256), "alg", json!("PS256"))), Some(vec![Algorithm::PS256]));
        let p256 = json!(SigningKey::generate().unwrap().public());
        assert_eq!(algorithms(p256), Some(vec![Algorithm::ES256]));
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e", "x": URL_SAFE_NO_PAD.encode([1; 32]) });
        assert_eq!(algorithms(ed), Some(vec![Algorithm::EdDSA]));
    }

    #[test]
    fn weak_symmetric_encrypting_nameless_and_strange_keys_are_passed_over() {
        for key in [
            rsa_of(128),
            rsa_of(1025),
            with(rsa_of(256), "use", json!("enc")),
            with(rsa_of(256), "use", json!(1)),
            with(rsa_of(256), "key_ops", json!(["encrypt"])),
            with(rsa_of(256), "alg", json!("HS256")),
            with(rsa_of(256), "alg", json!("RSA-OAEP")),
            with(rsa_of(256), "alg", json!("ES256")),
            with(rsa_of(256), "kid", json!("")),
            json!({ "kty": "oct", "kid": "o", "k": "c2VjcmV0" }),
            json!({ "kty": "EC", "crv": "P-521", "kid": "p", "x": "AA", "y": "AA" }),
            json!({ "kty": "EC", "crv": "P-256", "kid": "p", "x": "AA", "y": "AA" }),
            json!("text"),
        ] {
            assert!(usable(&key).is_none(), "{key}");
        }
    }

    #[test]
    fn a_set_without_a_usable_key_or_with_two_of_one_name_is_refused_whole() {
        let set = |keys: &[Value]| IssuerKeys::parse(&json!({ "keys": keys }).to_string());
        assert!(matches!(set(&[]), Err(Error::NoIssuerKeys)));
        assert!(matches!(set(&[rsa_of(128)]), Err(Error::NoIssuerKeys)));
        assert!(matches!(set(&[rsa_of(256), rsa_of(384)]), Err(Error::TwoKeys(kid)) if kid == "r"));
        assert!(matches!(IssuerKeys::parse("<html>"), Err(Error::Jwks(_))));
        let two = set(&[rsa_of(256), with(rsa_of(384), "kid", json!("a"))]).unwrap();
        assert_eq!(two.kids(), ["a", "r"]);
    }
}
