//! The token verifier: forged tokens as they come, and well-signed ones with any header and any claims.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use temporal_warden::tokens::{SigningKey, Verified, Verifier, jwks};
use time::{OffsetDateTime, macros::datetime};

const ISSUER: &str = "temporal-warden";
const AUDIENCE: &str = "temporal";
const NOW: OffsetDateTime = datetime!(2026-11-25 12:00 UTC);

struct Issuer {
    encoding: EncodingKey,
    kid: String,
    verifier: Verifier,
}

static US: LazyLock<Issuer> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("a key");
    let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).expect("P-256");
    let verifier = Verifier::new(&jwks([key.public()]), ISSUER, AUDIENCE).expect("a JWKS");
    Issuer { encoding, kid: key.public().kid.clone(), verifier }
});

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode & 1 {
        0 => {
            let Ok(compact) = std::str::from_utf8(rest) else { return };
            assert!(US.verifier.verify(compact, NOW).is_err(), "a forged token passed: {compact}");
        }
        _ => signed(rest),
    }
});

/// `HEADER 0xff CLAIMS`, signed by the trusted key; KID in the header stands for its name.
fn signed(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0xff);
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let header = String::from_utf8_lossy(header).replace("KID", &US.kid);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &US.encoding, Algorithm::ES256).expect("signed");
    if let Ok(verified) = US.verifier.verify(&format!("{message}.{signature}"), NOW) {
        holds(&header, claims, &verified);
    }
}

/// What the contract promises of every token that passes, read by another parser than the verifier's own.
fn holds(header: &str, claims: &[u8], verified: &Verified) {
    let Ok(header) = serde_json::from_str::<Value>(header) else { return };
    // Members that nobody reads may hold what only this parser refuses: a number beyond f64, too deep a nesting.
    let Ok(claims) = serde_json::from_slice::<Value>(claims) else { return };
    assert!(header["alg"] == "ES256" && header["kid"] == *US.kid);
    assert!(["jwk", "jku", "x5u", "x5c", "crit"].iter().all(|name| header.get(name).is_none()));
    let now = NOW.unix_timestamp() as f64;
    assert!(claims["exp"].as_f64().expect("exp") > now && claims["nbf"].as_f64().expect("nbf") < now + 1.0);
    assert!(verified.expires > NOW && verified.not_before <= NOW);
    assert_eq!(claims["iss"], ISSUER);
    let named = claims["aud"] == AUDIENCE || claims["aud"].as_array().is_some_and(|a| a.iter().any(|v| v == AUDIENCE));
    assert!(named && !verified.sub.is_empty() && !verified.scopes.is_empty());
    assert_eq!(claims.get("namespaces").is_some_and(|n| !n.is_null()), verified.namespaces.is_some());
    assert_eq!(claims.get("cnf").is_some_and(|c| !c.is_null()), verified.cnf_x5t.is_some());
}
