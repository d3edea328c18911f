//! What passes the verifier and what never does, told by the words a caller reads.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};
use temporal_warden::tokens::{Confirmation, Grant, Refusal, Scope, Scopes, SigningKey, Verifier, jwks, mint};
use time::{Duration, OffsetDateTime, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

fn verifier(key: &SigningKey) -> Verifier {
    Verifier::new(&jwks([key.public()]), "temporal-warden", "temporal").unwrap()
}

fn grant() -> Grant {
    Grant {
        issuer: "temporal-warden".to_owned(),
        audience: "temporal".to_owned(),
        sub: "temporal-client".to_owned(),
        scopes: Scope::Client.into(),
        namespaces: Some(vec!["default".to_owned()]),
        cnf_x5t: Some(Confirmation::exactly("abc".to_owned())),
        life: Duration::hours(1),
    }
}

/// A correctly signed token of any claims and header members.
fn signed(key: &SigningKey, header: Value, claims: &Value) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &encoding, Algorithm::ES256).unwrap();
    format!("{message}.{signature}")
}

fn claims() -> Value {
    let now = NOW.unix_timestamp();
    json!({"iss": "temporal-warden", "aud": "temporal", "sub": "s", "scope": "temporal-client", "nbf": now, "exp": now + 1})
}

fn refusal_of(change: impl FnOnce(&mut Value)) -> String {
    let key = SigningKey::generate().unwrap();
    let mut claims = claims();
    change(&mut claims);
    let token = signed(&key, json!({"alg": "ES256", "kid": key.public().kid}), &claims);
    verifier(&key).verify(&token, NOW).unwrap_err().to_string()
}

fn refusal_of_header(change: impl FnOnce(&mut Value)) -> String {
    let key = SigningKey::generate().unwrap();
    let mut header = json!({"alg": "ES256", "kid": key.public().kid});
    change(&mut header);
    verifier(&key).verify(&signed(&key, header, &claims()), NOW).unwrap_err().to_string()
}

#[test]
fn a_minted_token_passes_and_says_what_was_granted() {
    let key = SigningKey::generate().unwrap();
    let token = mint(&key, &grant(), NOW).unwrap();
    assert!(!token.ends_with('\n'));
    let verified = verifier(&key).verify(&token, NOW).unwrap();
    assert_eq!(verified.sub, "temporal-client");
    assert_eq!(verified.scopes, Scopes::from(Scope::Client));
    assert_eq!(verified.kid, key.public().kid);
    assert_eq!(verified.namespaces.as_deref(), Some(&["default".to_owned()][..]));
    assert_eq!(verified.cnf_x5t, Some(Confirmation::exactly("abc".to_owned())));
    assert_eq!(verified.expires, NOW + Duration::hours(1));
    assert_eq!(verified.jti.len(), 36);
}

#[test]
fn the_payload_decodes_with_plain_base64_whatever_its_length() {
    let key = SigningKey::generate().unwrap();
    for length in 1..9 {
        let token = mint(&key, &Grant { sub: "s".repeat(length), ..grant() }, NOW).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let plain = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
        assert!(serde_json::from_slice::<Value>(&plain).unwrap()["exp"].is_i64());
        verifier(&key).verify(&token, NOW).unwrap();
    }
}

#[test]
fn there_is_no_leeway_at_either_end() {
    let key = SigningKey::generate().unwrap();
    let token = mint(&key, &grant(), NOW).unwrap();
    let at = |at| verifier(&key).verify(&token, at);
    assert!(at(NOW - Duration::seconds(60)).is_ok());
    assert!(matches!(at(NOW - Duration::seconds(61)), Err(Refusal::NotYetValid { .. })));
    assert!(at(NOW + Duration::minutes(60) - Duration::nanoseconds(1)).is_ok());
    assert!(matches!(at(NOW + Duration::minutes(60)), Err(Refusal::Expired { .. })));
    let late = at(NOW + Duration::minutes(252)).unwrap_err();
    assert_eq!(late.to_string(), "token expired 3h 12m ago");
}

#[test]
fn every_required_claim_is_required() {
    for claim in ["iss", "aud", "sub", "scope", "exp", "nbf"] {
        let words = refusal_of(|c| drop(c.as_object_mut().unwrap().remove(claim)));
        assert_eq!(words, format!("token has no {claim} claim"));
    }
}

#[test]
fn claims_of_the_wrong_kind_are_refused_by_name() {
    for (claim, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!(253_402_300_800_u64)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!("1")),
        ("nbf", json!([1])),
        ("scope", json!(["temporal-system"])),
        ("iss", json!(["temporal-warden"])),
        ("aud", json!({"temporal": true})),
        ("aud", json!(["temporal", 1])),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("namespaces", json!("default")),
        ("namespaces", json!(["default", 1])),
        ("cnf", json!("x")),
        ("cnf", json!({})),
        ("jti", json!(5)),
    ] {
        let words = refusal_of(|c| c[claim] = value.clone());
        assert!(words.starts_with(&format!("token claim {claim} is not ")), "{claim} {value}: {words}");
    }
}

#[test]
fn wrong_issuer_audience_time_and_scope_are_told_apart() {
    assert_eq!(refusal_of(|c| c["iss"] = json!("evil")), r#"token issuer is "evil", not "temporal-warden""#);
    assert_eq!(refusal_of(|c| c["aud"] = json!(["other"])), r#"token audience does not name "temporal""#);
    assert_eq!(refusal_of(|c| c["aud"] = json!("Temporal")), r#"token audience does not name "temporal""#);
    assert_eq!(
        refusal_of(|c| c["iat"] = json!(NOW.unix_timestamp() + 5)),
        "token is not valid before 2026-11-24T12:00:05Z"
    );
    assert_eq!(refusal_of(|c| c["scope"] = json!("openid")), r#"token scope "openid" holds none of the known scopes"#);
    assert_eq!(refusal_of(|c| c["exp"] = json!(NOW.unix_timestamp())), "token expired 0s ago");
}

#[test]
fn extra_words_in_the_scope_are_ignored_and_grant_nothing() {
    let key = SigningKey::generate().unwrap();
    let mut claims = claims();
    claims["scope"] = json!("openid temporal-worker temporal-systemx");
    claims["aud"] = json!(["x", "temporal"]);
    let token = signed(&key, json!({"alg": "ES256", "kid": key.public().kid, "typ": "JWT"}), &claims);
    let verified = verifier(&key).verify(&token, NOW).unwrap();
    assert_eq!(verified.scopes, Scopes::from(Scope::Worker));
}

#[test]
fn headers_that_choose_their_own_key_or_algorithm_never_pass() {
    for member in ["jwk", "jku", "x5u", "x5c", "crit"] {
        for value in [json!(["x"]), json!({}), Value::Null] {
            let words = refusal_of_header(|h| h[member] = value.clone());
            assert!(words.contains("brings its own key") || words.contains("crit"), "{member}: {words}");
        }
    }
    for alg in ["none", "None", "HS256", "RS256", "ES384", "PS256", "EdDSA", "es256", ""] {
        assert_eq!(refusal_of_header(|h| h["alg"] = json!(alg)), format!("token algorithm {alg:?} is not accepted"));
    }
    assert_eq!(refusal_of_header(|h| h["kid"] = json!("x")), r#"token is signed by unknown key "x""#);
    assert_eq!(
        refusal_of_header(|h| drop(h.as_object_mut().unwrap().remove("kid"))),
        "token names no key (header kid)"
    );
    assert!(refusal_of_header(|h| drop(h.as_object_mut().unwrap().remove("alg"))).contains("header is not"));
    assert!(refusal_of_header(|h| h["kid"] = json!(5)).contains("header is not"));
}

#[test]
fn an_hmac_made_with_the_public_key_never_passes() {
    let key = SigningKey::generate().unwrap();
    for secret in [key.public_pem(), jwks([key.public()])] {
        let header = Header { kid: Some(key.public().kid.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        assert_eq!(verifier(&key).verify(&token, NOW).unwrap_err(), Refusal::Algorithm { held: "HS256".to_owned() });
        // The same signature under an honest-looking header.
        let (_, rest) = token.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": key.public().kid}).to_string());
        assert_eq!(verifier(&key).verify(&format!("{header}.{rest}"), NOW).unwrap_err(), Refusal::Signature);
    }
}

#[test]
fn another_key_under_a_known_name_never_passes() {
    let [good, evil] = [(); 2].map(|()| SigningKey::generate().unwrap());
    let token = signed(&evil, json!({"alg": "ES256", "kid": good.public().kid}), &claims());
    assert_eq!(verifier(&good).verify(&token, NOW).unwrap_err(), Refusal::Signature);
}

#[test]
fn a_doubled_claim_is_refused() {
    let key = SigningKey::generate().unwrap();
    let doubled = claims().to_string().replacen('{', r#"{"scope":"temporal-system","#, 1);
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": key.public().kid}).to_string());
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(doubled));
    let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &encoding, Algorithm::ES256).unwrap();
    let refusal = verifier(&key).verify(&format!("{message}.{signature}"), NOW).unwrap_err();
    assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}");
}

/// Found by fuzz/token: the parser does not look into members that nobody reads, other readers of the token do.
#[test]
fn claims_that_are_not_utf_8_are_refused_wherever_that_is() {
    let key = SigningKey::generate().unwrap();
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": key.public().kid}).to_string());
    let mut payload = claims().to_string().into_bytes();
    payload.splice(1..1, *b"\"other\":\"\x96\",");
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &encoding, Algorithm::ES256).unwrap();
    let refusal = verifier(&key).verify(&format!("{message}.{signature}"), NOW).unwrap_err().to_string();
    assert!(refusal.contains("not a JSON object"), "{refusal}");
}

#[test]
fn a_token_beyond_8_kib_is_not_looked_at() {
    let key = SigningKey::generate().unwrap();
    let mut claims = claims();
    claims["padding"] = json!("x".repeat(8000));
    let token = signed(&key, json!({"alg": "ES256", "kid": key.public().kid}), &claims);
    assert_eq!(verifier(&key).verify(&token, NOW).unwrap_err().to_string(), "token is larger than 8 KiB");
}

#[test]
fn a_jwks_without_a_usable_key_is_an_error() {
    let key = SigningKey::generate().unwrap();
    let rsa = json!({"keys": [{"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"}]}).to_string();
    let short = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": "AQAB", "y": "AQAB"}]}).to_string();
    for empty in ["{}", r#"{"keys":[]}"#, "", "[]", "null", &rsa, &short] {
        assert!(Verifier::new(empty, "i", "a").is_err(), "{empty}");
    }
    assert!(
        Verifier::new(&jwks([key.public(), key.public()]), "i", "a").is_err(),
        "equal kids: Temporal takes the last"
    );
    let other = SigningKey::generate().unwrap();
    let both = Verifier::new(&jwks([key.public(), other.public()]), "i", "a").unwrap();
    assert!(both.knows(&key.public().kid) && both.knows(&other.public().kid));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_the_verifier(text in "\\PC{0,300}", dots in "[A-Za-z0-9_.-]{0,300}") {
        let key = SigningKey::generate().unwrap();
        let verifier = verifier(&key);
        prop_assert!(verifier.verify(&text, NOW).is_err());
        prop_assert!(verifier.verify(&dots, NOW).is_err());
    }

    #[test]
    fn a_token_with_any_byte_changed_never_passes(at in 0usize..10_000, byte in 0x20u8..0x7f) {
        let key = SigningKey::generate().unwrap();
        let mut token = mint(&key, &grant(), NOW).unwrap().into_bytes();
        let at = at % token.len();
        prop_assume!(token[at] != byte);
        token[at] = byte;
        prop_assert!(verifier(&key).verify(std::str::from_utf8(&token).unwrap(), NOW).is_err());
    }

    #[test]
    fn signed_claims_of_any_shape_never_panic_and_never_widen(exp in any::<f64>(), nbf in any::<i64>(), scope in "\\PC{0,40}") {
        let key = SigningKey::generate().unwrap();
        let mut claims = claims();
        claims["exp"] = json!(exp);
        claims["nbf"] = json!(nbf);
        claims["scope"] = json!(scope);
        let token = signed(&key, json!({"alg": "ES256", "kid": key.public().kid}), &claims);
        if let Ok(verified) = verifier(&key).verify(&token, NOW) {
            prop_assert!(verified.scopes.iter().all(|s| scope.split(' ').any(|word| word == s.as_str())));
        }
    }
}
