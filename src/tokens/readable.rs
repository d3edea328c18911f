//! Whether Temporal can read a JWKS: it takes the whole document or nothing of it, and without it no token passes there,
//! not even the gateway's own. What it can't read it only says in its log, and it starts all the same.

use aws_lc_rs::signature::{self, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{Error, keys::keys_of};

/// Refuses a document with a key that go-jose, which Temporal reads it with, does not take (`JSONWebKey.UnmarshalJSON`).
/// Keys that it takes and that open nothing, such as an RSA key, are nobody's harm.
pub fn readable(document: &str) -> Result<(), Error> {
    for (at, key) in keys_of(document)?.iter().enumerate() {
        if let Err(why) = judge(key) {
            let kid = key.get("kid").and_then(Value::as_str).map(|kid| format!(" ({kid})")).unwrap_or_default();
            return Err(Error::Unreadable { which: format!("number {}{kid}", at + 1), why });
        }
    }
    Ok(())
}

fn judge(key: &Value) -> Result<(), &'static str> {
    let texts = ["kty", "kid", "use", "alg", "crv"];
    if texts.iter().any(|name| key.get(name).is_some_and(|value| !value.is_string())) {
        return Err("kty, kid, use, alg and crv are strings");
    }
    let word = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(word(name)).ok().filter(|bytes| !bytes.is_empty());
    match (word("kty"), word("crv")) {
        _ if key.get("d").is_some() => Err("it is a private key"),
        ("EC", crv) => {
            let (length, algorithm): (_, &'static signature::EcdsaVerificationAlgorithm) = match crv {
                "P-256" => (32, &signature::ECDSA_P256_SHA256_FIXED),
                "P-384" => (48, &signature::ECDSA_P384_SHA384_FIXED),
                "P-521" => (66, &signature::ECDSA_P521_SHA512_FIXED),
                _ => return Err("crv is none of P-256, P-384 and P-521"),
            };
            let whole = |name: &str| bytes(name).filter(|bytes| bytes.len() == length);
            let (Some(x), Some(y)) = (whole("x"), whole("y")) else {
                return Err("x and y are not of the curve's length in base64url");
            };
            let point = [&[4][..], &x, &y].concat();
            ParsedPublicKey::new(algorithm, point).map(drop).map_err(|_| "x and y are no point of the curve")
        }
        ("RSA", _) if bytes("n").is_some() && bytes("e").is_some() => Ok(()),
        ("RSA", _) => Err("n and e are not both there in base64url"),
        ("OKP", "Ed25519") if bytes("x").is_some_and(|x| x.len() == 32) => Ok(()),
        ("OKP", "Ed25519") => Err("x is not of 32 bytes in base64url"),
        _ => Err("it is of a kind that Temporal does not know (EC, RSA, OKP with Ed25519)"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::SigningKey;

    #[test]
    fn a_key_that_temporal_can_not_read_is_named_and_one_that_it_can_is_left_alone() {
        let own = json!(SigningKey::generate().unwrap().public());
        let with = |key: Value| readable(&json!({ "keys": [own, key] }).to_string()).map_err(|e| e.to_string());
        let ed25519 =
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        for good in [own.clone(), json!({"kty": "RSA", "kid": "r", "n": "sXch", "e": "AQAB"}), ed25519] {
            assert_eq!(with(good), Ok(()));
        }
        // What else is refused, and how: tests/material_refusals.rs.
        let said = with(json!({"kty": "AKP"})).unwrap_err();
        assert!(said.starts_with("holds a key that Temporal can't read, number 2: it is of a kind"), "{said}");
    }
}
