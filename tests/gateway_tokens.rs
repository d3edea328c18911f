//! Tokens that must never pass, against the running gateway.

#[path = "gateway/mod.rs"]
mod gateway;

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::{AUDIENCE, Gateway, ISSUER, LIST, Options, client};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use temporal_warden::{
    config::AuthMode,
    gateway::link::{Auth, Revocations},
    tokens::SigningKey,
};
use time::OffsetDateTime;

fn claims() -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "attacker", "scope": "temporal-client",
        "iat": now - 60, "nbf": now - 60, "exp": now + 600, "jti": "forged-1",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn signed(key: &SigningKey, kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    let encoding = EncodingKey::from_ec_pem(key.to_pem().expose().as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &encoding).unwrap()
}

fn unsigned(kid: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT", "kid": kid})), part(&claims()))
}

/// An extension that whoever does not know it must refuse (RFC 7515 §4.1.11).
fn with_extension(kid: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.x", part(&json!({"alg": "ES256", "kid": kid, "crit": ["exp"]})), part(&claims()))
}

fn hmac_with_the_public_key(key: &SigningKey) -> String {
    let header = Header { kid: Some(key.public().kid.clone()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(key.public_pem().as_bytes())).unwrap()
}

#[tokio::test]
async fn no_forged_or_stale_token_reaches_the_backend() {
    let gateway = Gateway::start().await;
    let (key, kid) = (&gateway.key, gateway.key.public().kid.as_str());
    let stranger = SigningKey::generate().unwrap();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let good = signed(key, kid, &claims());
    let attacks = [
        ("alg none", unsigned(kid), "alg"),
        ("HMAC with the public key", hmac_with_the_public_key(key), "alg"),
        ("unknown kid", signed(&stranger, &stranger.public().kid, &claims()), "unknown key"),
        ("another key under our kid", signed(&stranger, kid, &claims()), "signature"),
        ("expired", signed(key, kid, &with("exp", json!(now - 1))), "expired"),
        ("not yet valid", signed(key, kid, &with("nbf", json!(now + 60))), "not valid"),
        ("wrong issuer", signed(key, kid, &with("iss", json!("elsewhere"))), "iss"),
        ("wrong audience", signed(key, kid, &with("aud", json!("elsewhere"))), "aud"),
        (
            "scope as a list",
            signed(key, kid, &with("scope", json!(["temporal-client"]))),
            "one string of words separated by spaces",
        ),
        ("an extension", with_extension(kid), "demands extensions (header crit), which are not supported"),
        ("unknown scope", signed(key, kid, &with("scope", json!("temporal-admin"))), "scope"),
        ("no expiry", signed(key, kid, &with("exp", Value::Null)), "token has no exp claim"),
        ("expiry in words", signed(key, kid, &with("exp", json!("soon"))), "a number of seconds since 1970"),
        ("audience as a number", signed(key, kid, &with("aud", json!(5))), "a string or a list of strings"),
        ("empty subject", signed(key, kid, &with("sub", json!(""))), "a non-empty string"),
        (
            "namespaces as a word",
            signed(key, kid, &with("namespaces", json!("a"))),
            "claim namespaces is not a list of strings",
        ),
        ("binding as a word", signed(key, kid, &with("cnf", json!("a"))), "an object with x5t#S256"),
        ("extra words", format!("{good} extra"), ""),
        ("not a token", "nonsense".to_owned(), ""),
        ("two tokens in one value", format!("{good}, Bearer {good}"), ""),
    ];
    let send = gateway.connect().await;
    assert_eq!(client::call(&send, LIST, &[("authorization", &client::bearer(&good))]).await.unwrap().status(), 0);
    let before = gateway.backend.count();
    for (name, token, word) in &attacks {
        let reply = client::call(&send, LIST, &[("authorization", &client::bearer(token))]).await.unwrap();
        let message = reply.message();
        assert_eq!(reply.status(), 16, "{name}: {message}");
        assert!(message.starts_with("Unauthorized: ") && message.contains(word), "{name}: {message}");
    }
    for headers in [&[][..], &[("authorization", good.as_str())], &[("authorization", "Basic YTpi")]] {
        assert_eq!(client::call(&send, LIST, headers).await.unwrap().status(), 16, "{headers:?}");
    }
    let bearer = client::bearer(&good);
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(client::call(&send, LIST, &twice).await.unwrap().status(), 16);
    assert_eq!(gateway.backend.count(), before);
}

#[tokio::test]
async fn a_revoked_token_or_removed_key_is_refused_from_the_next_call_on() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&signed(&gateway.key, &gateway.key.public().kid, &claims()));
    let headers = [("authorization", token.as_str())];
    assert_eq!(client::call(&send, LIST, &headers).await.unwrap().status(), 0);
    let mut material = gateway.next_version();
    let auth = material.auth.clone();
    let by_id = Revocations { jti: BTreeSet::from(["forged-1".to_owned()]), ..Default::default() };
    let by_subject = Revocations { subjects: BTreeSet::from(["attacker".to_owned()]), ..Default::default() };
    let other_keys = temporal_warden::tokens::jwks([SigningKey::generate().unwrap().public()]);
    let ends = [
        (Auth { revocations: by_id, ..auth.clone() }, "revoked"),
        (Auth { revocations: by_subject, ..auth.clone() }, "revoked"),
        (Auth { jwks: other_keys, ..auth.clone() }, "unknown key"),
    ];
    for (end, word) in ends {
        for (auth, status) in [(end, 16), (auth.clone(), 0)] {
            material.auth = auth;
            material.version += 1;
            gateway.switch(material.clone()).await.unwrap();
            let reply = client::call(&send, LIST, &headers).await.unwrap();
            assert_eq!(reply.status(), status, "{word}: {}", reply.message());
            assert!(status == 0 || reply.message().contains(word), "{}", reply.message());
        }
    }
}

#[tokio::test]
async fn a_jwks_with_two_keys_of_one_name_is_refused_and_the_one_before_goes_on() {
    let mut gateway = Gateway::start().await;
    let mut material = gateway.next_version();
    material.auth.jwks = temporal_warden::tokens::jwks([gateway.key.public(), gateway.key.public()]);
    let refused = gateway.switch(material).await.unwrap_err();
    assert!(refused.contains(&format!("holds two keys with kid {:?}", gateway.key.public().kid)), "{refused}");
    let (send, token) = (gateway.connect().await, client::bearer(&gateway.token("temporal-client")));
    assert_eq!(client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status(), 0);
}

#[tokio::test]
async fn report_mode_serves_everyone_and_records_the_refusal() {
    let mut gateway = Gateway::with(Options { mode: AuthMode::Report, ..Options::default() }).await;
    let send = gateway.connect().await;
    assert_eq!(client::call(&send, LIST, &[]).await.unwrap().status(), 0);
    gateway.drain().await;
    let record = gateway.records().into_iter().find(|record| record["method"] == "ListWorkflowExecutions").unwrap();
    assert_eq!(record["decision"], "allow");
    assert!(record["reason"].as_str().unwrap().starts_with("would be refused: Unauthorized: no token"), "{record}");
}

#[tokio::test]
async fn with_authorization_off_no_token_is_asked_for() {
    let gateway = Gateway::with(Options { auth: false, ..Options::default() }).await;
    let send = gateway.connect().await;
    assert_eq!(client::call(&send, LIST, &[("authorization", "anything at all")]).await.unwrap().status(), 0);
    assert_eq!(gateway.backend.last_headers()["authorization"], "anything at all");
}
