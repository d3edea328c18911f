//! What happens to calls when the upstream goes away, comes back, or says GOAWAY.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use gateway::{Gateway, LIST, Options, backend::Backend, client};
use temporal_warden::gateway::link::{Hello, Material};

#[tokio::test]
async fn goaway_of_the_backend_loses_no_call() {
    let gateway = Gateway::start().await;
    gateway.backend.seen.goaway_after.store(25, Ordering::SeqCst);
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let headers = [("authorization", token.as_str())];
    for _ in 0..60 {
        let replies = join_all((0..20).map(|_| client::call(&send, LIST, &headers))).await;
        for reply in replies {
            let reply = reply.unwrap();
            assert_eq!(reply.status(), 0, "{}", reply.message());
        }
    }
    assert_eq!(gateway.backend.count(), 1200);
    assert!(gateway.backend.seen.connections.load(Ordering::SeqCst) > 10);
}

#[tokio::test]
async fn new_certificates_leave_the_connections_to_the_upstream_alone() {
    let options = Options { hello: Hello { threads: 1, ..Options::default().hello }, ..Options::default() };
    let mut gateway = Gateway::with(options).await;
    let send = gateway.connect().await;
    assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    gateway.health(|health| health.upstream_ok).await;
    let before = gateway.backend.seen.connections.load(Ordering::SeqCst);
    for _ in 0..5 {
        gateway.material = gateway.next_version();
        let (chain_pem, key_pem) = gateway.ca.server();
        let tls = gateway.material.tls.as_mut().unwrap();
        (tls.chain_pem, tls.key_pem) = (chain_pem, key_pem.into());
        gateway.switch(gateway.material.clone()).await.unwrap();
        assert_eq!(gateway.call(&send, LIST, "temporal-client").await.status(), 0);
    }
    assert_eq!(gateway.backend.seen.connections.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn new_certificates_while_calls_run_lose_none() {
    switching_loses_none(|_| {}).await;
}

#[tokio::test]
async fn a_new_way_to_the_upstream_while_calls_run_loses_none() {
    // The same backend under another name: each version needs connections of its own.
    switching_loses_none(|material| {
        let (_, port) = material.upstream.address.rsplit_once(':').unwrap();
        let host = if material.version % 2 == 0 { "127.0.0.1" } else { "localhost" };
        material.upstream.address = format!("{host}:{port}");
    })
    .await;
}

async fn switching_loses_none(change: impl Fn(&mut Material)) {
    let mut gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let calls = tokio::spawn(async move {
        let headers = [("authorization", token.as_str()), ("x-test", "slow")];
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let replies = join_all((0..20).map(|_| client::call(&send, LIST, &headers))).await;
            statuses.extend(replies.into_iter().map(|reply| reply.map(|reply| (reply.status(), reply.message()))));
        }
        statuses
    });
    let mut material = gateway.material.clone();
    while !calls.is_finished() {
        material.version += 1;
        let (chain_pem, key_pem) = gateway.ca.server();
        let tls = material.tls.as_mut().unwrap();
        (tls.chain_pem, tls.key_pem) = (chain_pem, key_pem.into());
        change(&mut material);
        gateway.switch(material.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let failed: Vec<_> = calls.await.unwrap().into_iter().filter(|end| !matches!(end, Ok((0, _)))).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(material.version > 10);
}

#[tokio::test]
async fn a_call_waits_for_the_upstream_and_is_sent_when_it_is_back() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    gateway.backend.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let waiting = tokio::spawn({
        let send = send.clone();
        async move { client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    let back = Backend::at(gateway.backend.address).await;
    assert_eq!(waiting.await.unwrap(), 0);
    assert_eq!(back.count(), 1);
}

/// A call that is made while nothing listens there, or only when the frontend has opened its port.
async fn is_sent_once_the_frontend_serves(made_before: bool) {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    assert_eq!(client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status(), 0);
    gateway.backend.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let call = async move { client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status() };
    let (back, waiting) = if made_before {
        let waiting = tokio::spawn(call);
        tokio::time::sleep(Duration::from_millis(200)).await;
        (Backend::starting_at(gateway.backend.address).await, waiting)
    } else {
        (Backend::starting_at(gateway.backend.address).await, tokio::spawn(call))
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!waiting.is_finished() && back.count() == 0, "it was sent");
    back.seen.starting.store(false, Ordering::SeqCst);
    assert_eq!(waiting.await.unwrap(), 0);
    assert_eq!(back.count(), 1);
}

#[tokio::test]
async fn a_call_is_not_sent_to_a_frontend_that_has_its_port_open_and_does_not_serve_yet() {
    is_sent_once_the_frontend_serves(true).await;
    is_sent_once_the_frontend_serves(false).await;
}

#[tokio::test]
async fn without_an_upstream_a_call_ends_unavailable_after_the_wait_or_its_own_deadline() {
    let gateway = Gateway::start().await;
    gateway.backend.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    for (deadline, at_least, at_most) in [("60S", 1900, 4000), ("300m", 250, 1500)] {
        let start = Instant::now();
        let headers = [("authorization", token.as_str()), ("grpc-timeout", deadline)];
        let reply = client::call(&send, LIST, &headers).await.unwrap();
        let took = start.elapsed().as_millis();
        assert_eq!((reply.status(), reply.trailers.is_none()), (14, true), "{}", reply.message());
        assert!((at_least..at_most).contains(&took), "{deadline}: {took} ms");
    }
}

#[tokio::test]
async fn many_parked_calls_need_few_upstream_connections() {
    let options = Options { hello: Hello { threads: 1, ..Options::default().hello }, ..Options::default() };
    let gateway = Gateway::with(options).await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let mut parked = Vec::new();
    for _ in 0..6 {
        let mut send = gateway.connect().await;
        for _ in 0..90 {
            send = send.ready().await.unwrap();
            let hang = client::request(LIST, &[("authorization", &token), ("x-test", "hang")]);
            parked.push(send.send_request(hang, true).unwrap());
        }
    }
    let limit = Instant::now() + Duration::from_secs(5);
    while gateway.backend.count() < 540 && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gateway.backend.count(), 540);
    let connections = gateway.backend.seen.connections.load(Ordering::SeqCst);
    assert!((3..=6).contains(&connections), "{connections} connections (one is the probe's)");
}

#[tokio::test]
async fn a_token_is_tried_on_the_upstream_and_its_refusal_comes_back_in_words() {
    let mut gateway = Gateway::start().await;
    assert_eq!(gateway.attempt(1, "a.b.c").await, None);
    assert_eq!(*gateway.backend.seen.probed_with.lock().unwrap(), ["Bearer a.b.c"]);
    gateway.backend.seen.database_down.store(true, Ordering::SeqCst);
    let refused = gateway.attempt(2, "a.b.c").await.unwrap();
    assert!(refused.contains("status 14 no database"), "{refused}");
    gateway.backend.stop();
    let down = gateway.attempt(3, "a.b.c").await.unwrap();
    assert!(down.starts_with("the Temporal frontend cannot be reached: "), "{down}");
}
