//! Tokens of another issuer, against the running gateway: who passes, who never does, and what its absence costs.

#[path = "gateway/mod.rs"]
mod gateway;
mod issuer;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::{Gateway, INFO, LIST, Options, certs::Ca, client, client::Reply};
use issuer::{AUDIENCE, Issuer, Key, claims, jwks};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use temporal_warden::{
    gateway::link::{External, FromGateway, Hello, KeysFrom, KeysKept, Revocations, Rule},
    tokens::{ALGORITHMS, ExternalRules, Mapping, SigningKey, claimed},
};
use time::OffsetDateTime;

const START: &str = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";
const ADMIN: &str = "/temporal.api.workflowservice.v1.WorkflowService/ListNamespaces";
const FILE: &str = "https://id.example.com";

fn rules(issuer: &str) -> ExternalRules {
    let map = |text: &str| text.split(',').map(|one| one.parse::<Mapping>().unwrap()).collect();
    ExternalRules {
        issuer: issuer.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: ALGORITHMS.to_vec(),
        leeway: Duration::from_secs(5),
        subject_claim: "email".to_owned(),
        scope_claim: "groups".to_owned(),
        scopes: map("ops=temporal-client,seers=temporal-client:read,workers=temporal-worker,admins=temporal-system"),
        namespaces_claim: None,
        namespaces: Vec::new(),
    }
}

/// Fetches when it must, a second apart at least.
fn from(issuer: &Issuer) -> KeysFrom {
    KeysFrom {
        issuer: issuer.url(),
        url: issuer.url(),
        discovery: false,
        allow_http: false,
        trust_pem: None,
        refresh_ms: 3_600_000,
        retry_ms: 1000,
        stale_ms: 7_200_000,
    }
}

/// Starts one that fetches.
async fn fetching(issuer: &Issuer, from: KeysFrom, kept: Option<KeysKept>) -> Gateway {
    let hello = Hello {
        keys_from: Some(Box::new(from)),
        keys_kept: kept.map(Box::new),
        // This test reads the link now and then only: it must not fill up.
        health_interval_ms: 500,
        ..Options::default().hello
    };
    let mut gateway = Gateway::with(Options { hello, ..Options::default() }).await;
    accept(&mut gateway, rules(&issuer.url()), None).await;
    gateway
}

/// Takes the issuer's tokens, and has a key to sign upstream.
async fn accept(gateway: &mut Gateway, rules: ExternalRules, jwks: Option<String>) {
    let mut material = gateway.next_version();
    material.auth.external = Some(External { rules, jwks });
    material.upstream.internal_key_pem = Some(SigningKey::generate().unwrap().to_pem());
    gateway.material = material.clone();
    gateway.switch(material).await.unwrap();
}

/// With keys of a file.
async fn with_file(keys: &[&Key]) -> Gateway {
    let mut gateway = Gateway::start().await;
    accept(&mut gateway, rules(FILE), Some(jwks(keys))).await;
    gateway
}

async fn call(gateway: &Gateway, path: &str, token: &str) -> Reply {
    let send = gateway.connect().await;
    loop {
        let reply = client::call(&send, path, &[("authorization", &client::bearer(token))]).await.unwrap();
        // On a machine that has no time for the issuer, the call has waited long enough and says so.
        if !reply.message().contains("has not answered yet") {
            return reply;
        }
    }
}

async fn refused(gateway: &Gateway, path: &str, token: &str, status: u32, word: &str) {
    let reply = call(gateway, path, token).await;
    assert_eq!(reply.status(), status, "{}", reply.message());
    assert!(reply.message().contains(word), "{word}: {}", reply.message());
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(FILE, &["ops"]);
    claims[name] = value;
    claims
}

/// What Temporal was told of the last caller.
fn upstream(gateway: &Gateway) -> serde_json::Map<String, Value> {
    let headers = gateway.backend.last_headers();
    claimed(headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap()).unwrap()
}

#[tokio::test]
async fn every_asymmetric_algorithm_passes_and_temporal_gets_a_short_token_of_the_gateways() {
    let keys: Vec<_> = ALGORITHMS.iter().map(|algorithm| Key::new(&format!("{algorithm:?}"), *algorithm)).collect();
    let mut gateway = with_file(&keys.iter().collect::<Vec<_>>()).await;
    for key in &keys {
        let reply = call(&gateway, START, &key.sign(&claims(FILE, &["ops"]))).await;
        assert_eq!(reply.status(), 0, "{:?}: {}", key.algorithm, reply.message());
    }
    let claims_of = |token: &str| claimed(token).unwrap();
    let theirs = keys[0].sign(&with("exp", json!(OffsetDateTime::now_utc().unix_timestamp() + 20)));
    assert_eq!(call(&gateway, START, &theirs).await.status(), 0);
    let told = upstream(&gateway);
    assert_eq!((&told["sub"], &told["iss"]), (&json!("ada@example.com"), &json!("temporal-warden")));
    assert_eq!(told["permissions"], json!(["temporal-system:write"]));
    assert_eq!(told["exp"], claims_of(&theirs)["exp"], "never longer than theirs");
    assert_eq!(call(&gateway, LIST, &keys[0].sign(&claims(FILE, &["ops"]))).await.status(), 0);
    assert_eq!(upstream(&gateway)["permissions"], json!(["temporal-system:read"]), "a method that reads");
    assert!(upstream(&gateway)["exp"].as_i64().unwrap() <= OffsetDateTime::now_utc().unix_timestamp() + 60);
    // Also where no token is needed: Temporal would refuse one it does not know even there.
    assert_eq!(call(&gateway, INFO, &theirs).await.status(), 0);
    assert_eq!(upstream(&gateway)["sub"], "ada@example.com");
    let own = client::bearer(&gateway.token("temporal-client"));
    let send = gateway.connect().await;
    assert_eq!(client::call(&send, LIST, &[("authorization", &own)]).await.unwrap().status(), 0);
    assert_eq!(gateway.backend.last_headers()["authorization"], *own, "the warden's own passes unchanged");
    gateway.drain().await;
    let record = gateway.records().into_iter().find(|record| record["method"] == "StartWorkflowExecution").unwrap();
    let principal = &record["principal"];
    assert_eq!((&principal["iss"], &principal["sub"]), (&json!(FILE), &json!("ada@example.com")), "{record}");
    assert_eq!(principal["scope"], "temporal-client");
}

#[tokio::test]
async fn no_forged_stale_or_foreign_token_reaches_the_backend() {
    let (rsa, ec) = (Key::new("rsa", Algorithm::RS256), Key::new("ec", Algorithm::ES256));
    let gateway = with_file(&[&rsa, &ec]).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let good = claims(FILE, &["ops"]);
    let stranger = Key::new("rsa", Algorithm::RS256);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |alg: &str| format!("{}.{}.", part(&json!({ "alg": alg, "kid": "rsa" })), part(&good));
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let own_kid = gateway.key.public().kid.clone();
    let own = EncodingKey::from_ec_pem(gateway.key.to_pem().expose().as_bytes()).unwrap();
    let by_own_key = |kid: &str, claims: &Value| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &own).unwrap()
    };
    let mut as_ours =
        json!({ "iss": gateway::ISSUER, "aud": gateway::AUDIENCE, "scope": "temporal-system", "nbf": now - 60 });
    for name in ["sub", "iat", "exp", "jti"] {
        as_ours[name] = good[name].clone();
    }
    let document = jwks(&[&rsa]);
    let attacks = [
        ("alg none", unsigned("none"), "algorithm"),
        ("alg None", unsigned("None"), "algorithm"),
        ("HMAC with the JWKS", hmac(document.as_bytes()), "algorithm"),
        ("HMAC with the modulus", hmac(rsa.jwk["n"].as_str().unwrap().as_bytes()), "algorithm"),
        (
            "an EC signature under the RSA kid",
            ec.sign_as(|header| header.kid = Some("rsa".to_owned()), &good),
            "algorithm",
        ),
        ("another key under their kid", stranger.sign(&good), "signature"),
        ("their token by the warden's key under its kid", by_own_key(&own_kid, &good), "unknown key"),
        ("their token by the warden's key under their kid", by_own_key("ec", &good), "signature"),
        ("the warden's token by their key", ec.sign(&as_ours), "unknown key"),
        (
            "the warden's token by their key under its kid",
            ec.sign_as(|header| header.kid = Some(own_kid.clone()), &as_ours),
            "signature",
        ),
        (
            "a key of its own (jku)",
            rsa.sign_as(|h| h.jku = Some("https://evil.example/keys".to_owned()), &good),
            "own key",
        ),
        (
            "a key of its own (x5u)",
            rsa.sign_as(|h| h.x5u = Some("https://evil.example/x".to_owned()), &good),
            "own key",
        ),
        ("a key of its own (x5c)", rsa.sign_as(|h| h.x5c = Some(vec!["AA".to_owned()]), &good), "own key"),
        (
            "a logout token",
            rsa.sign_as(|h| h.typ = Some("logout+jwt".to_owned()), &good),
            "token type \"logout+jwt\" is neither an access token nor an ID token",
        ),
        ("expired", rsa.sign(&with("exp", json!(now - 1))), "expired"),
        ("not yet valid", rsa.sign(&with("nbf", json!(now + 60))), "not valid before"),
        ("made in the future", rsa.sign(&with("iat", json!(now + 60))), "not valid before"),
        ("exp as text", rsa.sign(&with("exp", json!((now + 60).to_string()))), "exp"),
        ("no exp", rsa.sign(&with("exp", Value::Null)), "exp"),
        ("another audience", rsa.sign(&with("aud", json!("another"))), "audience"),
        ("no audience", rsa.sign(&with("aud", Value::Null)), "aud"),
        ("another issuer", ec.sign(&with("iss", json!("https://id.example.com/"))), "unknown key"),
        (
            "no subject",
            rsa.sign(&with("email", Value::Null)),
            "token has no text in claim email, which WARDEN_EXTERNAL_SUBJECT_CLAIM names",
        ),
        ("a name of the warden's own", rsa.sign(&with("email", json!("temporal-system"))), "the warden's own"),
        ("a binding that can't be read", rsa.sign(&with("cnf", json!({ "jkt": "x" }))), "cnf"),
        ("huge", rsa.sign(&with("more", json!("x".repeat(9000)))), "8 KiB"),
        ("no kid", rsa.sign_as(|header| header.kid = None, &good), "kid"),
        ("unknown kid", rsa.sign_as(|header| header.kid = Some("new".to_owned()), &good), "unknown key"),
    ];
    assert_eq!(call(&gateway, START, &rsa.sign(&good)).await.status(), 0);
    let before = gateway.backend.count();
    for (name, token, word) in &attacks {
        let reply = call(&gateway, START, token).await;
        let message = reply.message();
        assert_eq!(reply.status(), 16, "{name}: {message}");
        assert!(message.starts_with("Unauthorized: ") && message.contains(word), "{name}: {message}");
    }
    assert_eq!(gateway.backend.count(), before);
    let counted = gateway.scrape().await.value("temporal_warden_denials_total{reason=\"external_token\"}");
    assert!(counted > 10.0, "{counted}");
    // A clock that goes a little ahead.
    assert_eq!(call(&gateway, START, &rsa.sign(&with("iat", json!(now + 3)))).await.status(), 0);
}

#[tokio::test]
async fn an_algorithm_that_is_not_accepted_is_refused_whatever_the_keys_could() {
    let (rsa, ec) = (Key::new("rsa", Algorithm::RS256), Key::new("ec", Algorithm::ES256));
    let mut gateway = Gateway::start().await;
    let only = ExternalRules { algorithms: vec![Algorithm::ES256], ..rules(FILE) };
    accept(&mut gateway, only, Some(jwks(&[&rsa, &ec]))).await;
    refused(&gateway, LIST, &rsa.sign(&claims(FILE, &["ops"])), 16, "RS256").await;
    assert_eq!(call(&gateway, LIST, &ec.sign(&claims(FILE, &["ops"]))).await.status(), 0);
}

#[tokio::test]
async fn a_token_that_names_no_key_passes_where_there_is_but_one() {
    let (key, other) = (Key::new("a", Algorithm::RS256), Key::new("b", Algorithm::RS256));
    let nameless = key.sign_as(|header| header.kid = None, &claims(FILE, &["ops"]));
    assert_eq!(call(&with_file(&[&key]).await, LIST, &nameless).await.status(), 0);
    refused(&with_file(&[&key, &other]).await, LIST, &nameless, 16, "names no key").await;
}

#[tokio::test]
async fn a_group_grants_its_scope_and_reading_is_reading_only() {
    let key = Key::new("a", Algorithm::ES256);
    let mut gateway = with_file(&[&key]).await;
    let of = |groups: &[&str]| key.sign(&claims(FILE, groups));
    assert_eq!(call(&gateway, LIST, &of(&["seers"])).await.status(), 0);
    assert_eq!(upstream(&gateway)["permissions"], json!(["temporal-system:read"]));
    refused(&gateway, START, &of(&["seers"]), 7, "scope temporal-client:read may not call").await;
    refused(&gateway, ADMIN, &of(&["seers"]), 7, "needs temporal-system").await;
    refused(&gateway, ADMIN, &of(&["ops"]), 7, "needs temporal-system").await;
    assert_eq!(call(&gateway, START, &of(&["ops", "seers"])).await.status(), 0);
    assert_eq!(call(&gateway, ADMIN, &of(&["admins"])).await.status(), 0);
    assert_eq!(upstream(&gateway)["permissions"], json!(["temporal-system:admin"]));
    refused(&gateway, LIST, &of(&["Ops", "temporal-system"]), 7, "ada@example.com holds no scope").await;
    // A subject in a rule is the warden's, unless the rule names the issuer.
    let methods: BTreeSet<_> = [ADMIN.trim_start_matches('/').to_owned()].into();
    let rule = |issuer: Option<&str>| Rule {
        subject: Some("ada@example.com".to_owned()),
        issuer: issuer.map(str::to_owned),
        methods: methods.clone(),
        ..Rule::default()
    };
    for (issuer, status) in [(None, 7), (Some("https://other"), 7), (Some(FILE), 0)] {
        gateway.material = gateway.next_version();
        gateway.material.auth.rules = vec![rule(issuer)];
        gateway.switch(gateway.material.clone()).await.unwrap();
        assert_eq!(call(&gateway, ADMIN, &of(&["ops"])).await.status(), status, "{issuer:?}");
    }
    gateway.drain().await;
    let denied = gateway.records().into_iter().find(|record| record["method"] == "StartWorkflowExecution").unwrap();
    assert_eq!((&denied["decision"], &denied["principal"]["sub"]), (&json!("deny"), &json!("ada@example.com")));
    assert_eq!(denied["principal"]["scope"], "temporal-client:read");
}

#[tokio::test]
async fn namespaces_of_a_claim_limit_the_token_here_and_in_temporal() {
    let key = Key::new("a", Algorithm::ES256);
    let mut gateway = Gateway::start().await;
    let limited = ExternalRules {
        namespaces_claim: Some("teams".to_owned()),
        namespaces: vec!["pay=payments".parse().unwrap()],
        ..rules(FILE)
    };
    accept(&mut gateway, limited, Some(jwks(&[&key]))).await;
    let send = gateway.connect().await;
    let ask = async |claims: &Value, namespace: &str| {
        let token = client::bearer(&key.sign(claims));
        let mut send = send.clone().ready().await.unwrap();
        let request = client::request(LIST, &[("authorization", token.as_str())]);
        let (response, mut stream) = send.send_request(request, false).unwrap();
        let message = [&[0x0a, namespace.len() as u8], namespace.as_bytes()].concat();
        stream.send_data(client::message(&message), true).unwrap();
        client::read(response).await.unwrap()
    };
    assert_eq!(ask(&with("teams", json!(["pay", "x"])), "payments").await.status(), 0);
    assert_eq!(upstream(&gateway)["permissions"], json!(["payments:read"]));
    assert_eq!(ask(&with("teams", json!(["pay"])), "default").await.status(), 7);
    assert_eq!(ask(&with("teams", json!(["payments"])), "payments").await.status(), 7, "not mapped");
    assert_eq!(ask(&claims(FILE, &["ops"]), "payments").await.status(), 7, "no claim, no namespace");
}

#[tokio::test]
async fn a_revocation_by_id_or_subject_ends_their_tokens_too() {
    let key = Key::new("a", Algorithm::ES256);
    let mut gateway = with_file(&[&key]).await;
    let token = key.sign(&claims(FILE, &["ops"]));
    let jti = Revocations { jti: BTreeSet::from(["theirs-1".to_owned()]), ..Default::default() };
    let subject = Revocations { subjects: BTreeSet::from(["ada@example.com".to_owned()]), ..Default::default() };
    for revocations in [jti, subject] {
        for (revocations, status) in [(revocations, 16), (Revocations::default(), 0)] {
            gateway.material = gateway.next_version();
            gateway.material.auth.revocations = revocations;
            gateway.switch(gateway.material.clone()).await.unwrap();
            let reply = call(&gateway, LIST, &token).await;
            assert_eq!(reply.status(), status, "{}", reply.message());
        }
    }
}

#[tokio::test]
async fn a_new_key_of_the_issuer_fails_no_call_and_a_removed_one_ends_its_tokens() {
    let (old, new) = (Key::new("old", Algorithm::RS256), Key::new("new", Algorithm::ES256));
    let issuer = Issuer::start(jwks(&[&old]));
    let gateway = fetching(&issuer, from(&issuer), None).await;
    let of = |key: &Key| key.sign(&claims(&issuer.url(), &["ops"]));
    // The first fetch may still be under way: the call waits for it.
    assert_eq!(call(&gateway, LIST, &of(&old)).await.status(), 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    issuer.gives(jwks(&[&new, &old]));
    let reply = call(&gateway, LIST, &of(&new)).await;
    assert_eq!(reply.status(), 0, "{}", reply.message());
    assert_eq!(call(&gateway, LIST, &of(&old)).await.status(), 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    issuer.gives(jwks(&[&new]));
    // Whatever asks for an unknown key makes it look.
    let third = Key::new("third", Algorithm::ES256);
    refused(&gateway, LIST, &of(&third), 16, "unknown key").await;
    refused(&gateway, LIST, &of(&old), 16, "unknown key").await;
    assert_eq!(call(&gateway, LIST, &of(&new)).await.status(), 0);
}

#[tokio::test]
async fn tokens_with_unknown_keys_make_the_issuer_answer_once_an_interval_and_hold_up_nobody() {
    let key = Key::new("a", Algorithm::ES256);
    let issuer = Issuer::start(jwks(&[&key]));
    let slow = KeysFrom { retry_ms: 60_000, ..from(&issuer) };
    let gateway = fetching(&issuer, slow, None).await;
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    assert_eq!(call(&gateway, LIST, &good).await.status(), 0);
    let send = gateway.connect().await;
    let began = Instant::now();
    for number in 0..50 {
        let unknown = key.sign_as(|header| header.kid = Some(format!("k{number}")), &claims(&issuer.url(), &["ops"]));
        let reply = client::call(&send, LIST, &[("authorization", &client::bearer(&unknown))]).await.unwrap();
        assert_eq!(reply.status(), 16, "{}", reply.message());
    }
    assert!(began.elapsed() < Duration::from_secs(50), "none of them waited");
    // At the start, and once because of a token.
    assert!(issuer.asked() <= 2, "{}", issuer.asked());
}

#[tokio::test]
async fn keys_go_on_while_the_issuer_is_away_and_not_for_ever() {
    let key = Key::new("a", Algorithm::ES256);
    let issuer = Issuer::start(jwks(&[&key]));
    let short = KeysFrom { refresh_ms: 1000, stale_ms: 8000, ..from(&issuer) };
    let mut gateway = fetching(&issuer, short, None).await;
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    assert_eq!(call(&gateway, LIST, &good).await.status(), 0);
    issuer.is_up(false);
    let away = gateway.health(|health| health.issuer.as_ref().is_some_and(|issuer| !issuer.error.is_empty())).await;
    let sight = away.issuer.unwrap();
    assert_eq!((sight.keys.as_slice(), sight.source), (&["a".to_owned()][..], issuer.url()));
    assert_eq!(call(&gateway, LIST, &good).await.status(), 0, "the keys at hand go on");
    // What the issuer may have and we can't know is not refused as if it were bad.
    let unknown = key.sign_as(|header| header.kid = Some("new".to_owned()), &claims(&issuer.url(), &["ops"]));
    refused(&gateway, LIST, &unknown, 14, "the keys of the token's issuer cannot be had").await;
    gateway.health(|health| health.issuer.as_ref().is_some_and(|issuer| issuer.keys.is_empty())).await;
    refused(&gateway, LIST, &good, 14, "the keys of the token's issuer cannot be had").await;
    let own = client::bearer(&gateway.token("temporal-client"));
    let send = gateway.connect().await;
    assert_eq!(client::call(&send, LIST, &[("authorization", &own)]).await.unwrap().status(), 0, "others never notice");
    issuer.is_up(true);
    gateway.health(|health| health.issuer.as_ref().is_some_and(|issuer| !issuer.keys.is_empty())).await;
    assert_eq!(call(&gateway, LIST, &good).await.status(), 0);
    let page = gateway.scrape().await;
    assert!(page.value("temporal_warden_external_keys_fetches_total{outcome=\"failed\"}") >= 1.0);
    assert!(page.value("temporal_warden_external_keys_fetches_total{outcome=\"ok\"}") >= 2.0);
    assert_eq!(page.value("temporal_warden_external_keys"), 1.0);
}

#[tokio::test]
async fn a_new_gateway_process_has_the_keys_of_the_one_before_while_the_issuer_is_away() {
    let key = Key::new("a", Algorithm::ES256);
    let issuer = Issuer::start(jwks(&[&key]));
    let mut first = fetching(&issuer, from(&issuer), None).await;
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    // While it answers, what it fetched is told to PID 1; the switch of the material may have read it over.
    issuer.gives(jwks(&[&key, &Key::new("b", Algorithm::ES256)]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let unknown = key.sign_as(|header| header.kid = Some("new".to_owned()), &claims(&issuer.url(), &["ops"]));
    call(&first, LIST, &unknown).await;
    let kept = first.hear(|said| if let FromGateway::Keys(kept) = said { Some(kept) } else { None }).await;
    drop(first);
    issuer.is_up(false);
    let second = fetching(&issuer, from(&issuer), Some(kept.clone())).await;
    let reply = call(&second, LIST, &good).await;
    assert_eq!(reply.status(), 0, "{}", reply.message());
    let elsewhere = KeysKept { url: "https://other".to_owned(), ..kept.clone() };
    let old = KeysKept { fetched_ms: kept.fetched_ms - 7_200_001, ..kept };
    for kept in [elsewhere, old] {
        let gateway = fetching(&issuer, from(&issuer), Some(kept)).await;
        refused(&gateway, LIST, &good, 14, "cannot be had").await;
    }
}

#[tokio::test]
async fn what_is_no_jwks_leaves_the_keys_alone() {
    let key = Key::new("a", Algorithm::ES256);
    let issuer = Issuer::start(jwks(&[&key]));
    let gateway = fetching(&issuer, from(&issuer), None).await;
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    assert_eq!(call(&gateway, LIST, &good).await.status(), 0);
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(300 << 10));
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {}/elsewhere\r\ncontent-length: 0\r\n\r\n", issuer.url());
    for (document, why) in [
        ("{\"keys\":[]}".to_owned(), "no key that can be used"),
        ("<html>".to_owned(), "not a JWKS"),
        (huge, "larger than 256 KiB"),
        (redirect, "HTTP status 302"),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_owned(), "500"),
    ] {
        issuer.gives(document);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let unknown = key.sign_as(|header| header.kid = Some("new".to_owned()), &claims(&issuer.url(), &["ops"]));
        refused(&gateway, LIST, &unknown, 14, why).await;
        assert_eq!(call(&gateway, LIST, &good).await.status(), 0);
    }
}

#[tokio::test]
async fn keys_come_over_tls_by_discovery_and_only_from_who_has_the_certificate() {
    let (ca, stranger, key) = (Ca::new(), Ca::new(), Key::new("a", Algorithm::ES256));
    let issuer = Issuer::with(jwks(&[&key]), Some(ca.server()));
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    let trusting = |ca: &Ca| KeysFrom { discovery: true, trust_pem: Some(ca.pem()), ..from(&issuer) };
    let gateway = fetching(&issuer, trusting(&ca), None).await;
    let reply = call(&gateway, LIST, &good).await;
    assert_eq!(reply.status(), 0, "{}", reply.message());
    let gateway = fetching(&issuer, trusting(&stranger), None).await;
    refused(&gateway, LIST, &good, 14, "invalid peer certificate").await;
}

#[tokio::test]
async fn behind_its_walls_the_gateway_reaches_the_issuers_port_and_no_other() {
    let key = Key::new("a", Algorithm::ES256);
    let issuer = Issuer::start(jwks(&[&key]));
    let good = key.sign(&claims(&issuer.url(), &["ops"]));
    for (allowed, status) in [(vec![issuer.address.port()], 0), (vec![9], 14)] {
        let backend = gateway::backend::Backend::start().await;
        let mut connect = allowed.clone();
        connect.push(backend.address.port());
        let keys_from = Some(Box::new(from(&issuer)));
        let hello = Hello { connect: Some(connect), keys_from, ..Options::default().hello };
        let upstream = Some(backend.address.to_string());
        let mut gateway = Gateway::with(Options { hello, upstream, ..Options::default() }).await;
        accept(&mut gateway, rules(&issuer.url()), None).await;
        let reply = call(&gateway, LIST, &good).await;
        assert_eq!(reply.status(), status, "{allowed:?}: {}", reply.message());
    }
}
