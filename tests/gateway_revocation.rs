//! Calls that are under way when their token stops being good, against the running gateway.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use gateway::{AUDIENCE, Gateway, ISSUER, LIST, Options, client, client::Reply};
use h2::client::{ResponseFuture, SendRequest};
use temporal_warden::{
    gateway::link::Material,
    tokens::{Grant, Scope, SigningKey, Verifier, jwks, mint},
};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);

fn token_of(gateway: &Gateway, sub: &str) -> String {
    let grant = Grant {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        sub: sub.to_owned(),
        scopes: Scope::Client.into(),
        namespaces: None,
        cnf_x5t: None,
        life: time::Duration::hours(1),
    };
    mint(&gateway.key, &grant, OffsetDateTime::now_utc()).unwrap()
}

fn id_of(gateway: &Gateway, token: &str) -> String {
    let verifier = Verifier::new(&jwks([gateway.key.public()]), ISSUER, AUDIENCE).unwrap();
    verifier.verify(token, OffsetDateTime::now_utc()).unwrap().jti
}

/// A long poll: the backend answers nothing, not even headers.
async fn poll(gateway: &Gateway, send: &SendRequest<Bytes>, token: &str) -> ResponseFuture {
    let before = gateway.backend.count();
    let bearer = client::bearer(token);
    let request = client::request(LIST, &[("authorization", &bearer), ("x-test", "hang"), ("grpc-timeout", "70S")]);
    let (response, mut stream) = send.clone().ready().await.unwrap().send_request(request, false).unwrap();
    stream.send_data(client::message(b"poll"), true).unwrap();
    while gateway.backend.count() == before {
        sleep(Duration::from_millis(5)).await;
    }
    response
}

async fn ended(response: ResponseFuture) -> Reply {
    timeout(LIMIT, client::read(response)).await.expect("the call goes on").unwrap()
}

fn revoke(gateway: &Gateway, jti: &[&str], subjects: &[&str]) -> Material {
    let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let mut material = gateway.next_version();
    material.auth.revocations.jti = all(jti);
    material.auth.revocations.subjects = all(subjects);
    material
}

#[tokio::test]
async fn open_polls_of_a_revoked_token_or_subject_end_and_others_go_on() {
    for by_subject in [false, true] {
        let mut gateway = Gateway::start().await;
        let send = gateway.connect().await;
        let (bad, good) = (token_of(&gateway, "leaver"), token_of(&gateway, "stayer"));
        // More than one connection, so that every worker has some.
        let mut polls = Vec::new();
        for _ in 0..4 {
            polls.push(poll(&gateway, &gateway.connect().await, &bad).await);
        }
        let mut other = poll(&gateway, &send, &good).await;
        let id = id_of(&gateway, &bad);
        let material = if by_subject { revoke(&gateway, &[], &["leaver"]) } else { revoke(&gateway, &[&id], &[]) };
        gateway.switch(material).await.unwrap();
        for poll in polls {
            let reply = ended(poll).await;
            assert_eq!((reply.status(), reply.message().as_str()), (16, "Unauthorized: the token was revoked"));
        }
        while gateway.backend.seen.resets.load(Ordering::SeqCst) < 4 {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(timeout(Duration::from_millis(300), &mut other).await.is_err(), "another's poll ended too");
        let next = client::call(&send, LIST, &[("authorization", &client::bearer(&bad))]).await.unwrap();
        assert_eq!((next.status(), next.message().as_str()), (16, "Unauthorized: the token was revoked"));
        assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
        drop(other);
        gateway.drain().await;
        let records = gateway.records();
        let cut = records.iter().filter(|r| r["reason"] == "ended under way: Unauthorized: the token was revoked");
        assert_eq!(cut.filter(|r| r["grpc_status"] == 16 && r["principal"]["sub"] == "leaver").count(), 4);
    }
}

#[tokio::test]
async fn an_open_stream_ends_when_the_key_of_its_token_is_removed() {
    let mut gateway = Gateway::start().await;
    let mut send = gateway.connect().await;
    let bearer = client::bearer(&token_of(&gateway, "someone"));
    let (response, mut stream) =
        send.send_request(client::request(LIST, &[("authorization", &bearer)]), false).unwrap();
    let mut body = timeout(LIMIT, response).await.unwrap().unwrap().into_body();
    stream.send_data(client::message(b"one"), false).unwrap();
    assert_eq!(timeout(LIMIT, body.data()).await.unwrap().unwrap().unwrap(), client::message(b"one"));
    let mut material = gateway.next_version();
    material.auth.jwks = jwks([SigningKey::generate().unwrap().public()]);
    gateway.switch(material).await.unwrap();
    assert!(timeout(LIMIT, body.data()).await.expect("the stream goes on").is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "16");
    let message = trailers["grpc-message"].to_str().unwrap();
    assert_eq!(message, "Unauthorized: the key that signed the token is no longer trusted");
}

#[tokio::test]
async fn a_call_that_waits_for_the_upstream_is_not_sent_once_its_token_is_revoked() {
    let mut options = Options::default();
    options.hello.upstream_wait_ms = 60_000;
    let mut gateway = Gateway::with(options).await;
    let send = gateway.connect().await;
    let token = token_of(&gateway, "leaver");
    let address = gateway.backend.address;
    gateway.backend.stop();
    gateway.health(|health| !health.upstream_ok).await;
    let bearer = client::bearer(&token);
    let waiting = tokio::spawn({
        let send = send.clone();
        async move { client::call(&send, LIST, &[("authorization", &bearer)]).await.unwrap() }
    });
    sleep(Duration::from_millis(300)).await;
    gateway.switch(revoke(&gateway, &[], &["leaver"])).await.unwrap();
    let reply = timeout(LIMIT, waiting).await.unwrap().unwrap();
    assert_eq!(reply.status(), 16, "{}", reply.message());
    let back = gateway::backend::Backend::at(address).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(back.count(), 0);
}

#[tokio::test]
async fn a_new_version_that_revokes_nothing_ends_no_call() {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = token_of(&gateway, "stayer");
    let mut open = poll(&gateway, &send, &token).await;
    let mut material = revoke(&gateway, &["another-id"], &["another"]);
    material.auth.jwks = jwks([SigningKey::generate().unwrap().public(), gateway.key.public()]);
    gateway.switch(material).await.unwrap();
    assert!(timeout(Duration::from_millis(500), &mut open).await.is_err());
    assert_eq!(gateway.backend.seen.resets.load(Ordering::SeqCst), 0);
}
