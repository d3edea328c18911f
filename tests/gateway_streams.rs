//! What passes through unchanged, and who does not get in whose way.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use gateway::{Gateway, LIST, client};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn trailers_arrive_as_sent() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let reply = gateway.call(&send, LIST, "temporal-client").await;
    assert_eq!(reply.body, client::message(b"hello"));
    let trailers = reply.trailers.unwrap();
    let values: Vec<_> = trailers.get_all("x-trailer-bin").iter().collect();
    assert_eq!(
        (values[0], values[1], &trailers["grpc-status"]),
        (&"AAEC".parse().unwrap(), &"AwQF".parse().unwrap(), &"0".parse().unwrap())
    );
    assert!(!reply.head.headers().contains_key("grpc-status"));
}

#[tokio::test]
async fn a_trailers_only_answer_stays_one() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let reply = client::call(&send, LIST, &[("authorization", &token), ("x-test", "trailers-only")]).await.unwrap();
    assert_eq!(reply.head.headers()["grpc-status"], "5");
    assert_eq!((reply.trailers, reply.body.len()), (None, 0));
}

#[tokio::test]
async fn a_refusal_is_trailers_only() {
    let gateway = Gateway::start().await;
    let send = gateway.connect().await;
    let reply = client::call(&send, LIST, &[]).await.unwrap();
    assert_eq!(reply.head.headers()["grpc-status"], "16");
    assert_eq!(reply.head.headers()["content-type"], "application/grpc");
    assert!(reply.trailers.is_none() && !reply.head.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_refusal_waits_for_the_message_of_the_call_but_not_for_one_that_does_not_come_or_end() {
    let gateway = Gateway::start().await;
    let begun = async || {
        let mut send = gateway.connect().await.ready().await.unwrap();
        let (response, stream) = send.send_request(client::request(LIST, &[]), false).unwrap();
        (send, Box::pin(client::read(response)), stream)
    };
    let (_connection, mut reply, mut stream) = begun().await;
    assert!(timeout(Duration::from_millis(100), &mut reply).await.is_err(), "answered before its message");
    let message = client::message(&[0; 40 << 10]);
    stream.send_data(message, true).unwrap();
    let soon = Duration::from_millis(300);
    assert_eq!(timeout(soon, reply).await.expect("its message is there").unwrap().status(), 16);

    let (_connection, reply, _stream) = begun().await;
    assert_eq!(reply.await.unwrap().status(), 16);

    let (_connection, mut reply, mut stream) = begun().await;
    stream.send_data(client::message(&[0; 65 << 10]), false).unwrap();
    assert_eq!(timeout(soon, &mut reply).await.expect("it takes more").unwrap().status(), 16);
}

#[tokio::test]
async fn a_cancelled_call_is_reset_at_the_backend_at_once() {
    let gateway = Gateway::start().await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let hang = client::request(LIST, &[("authorization", &token), ("x-test", "hang"), ("grpc-timeout", "70S")]);
    let (response, mut stream) = send.send_request(hang, false).unwrap();
    stream.send_data(client::message(b"x"), true).unwrap();
    while gateway.backend.count() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.backend.last_headers()["grpc-timeout"], "70S");
    let start = Instant::now();
    drop(response);
    stream.send_reset(h2::Reason::CANCEL);
    while gateway.backend.seen.resets.load(Ordering::SeqCst) == 0 {
        // Long before its own deadline of 70 s, however busy the machine.
        assert!(start.elapsed() < Duration::from_secs(5), "not reset within 5 s");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn messages_are_answered_before_the_request_ends() {
    let gateway = Gateway::start().await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let (response, mut stream) = send.send_request(client::request(LIST, &[("authorization", &token)]), false).unwrap();
    let mut body = timeout(Duration::from_secs(10), response).await.unwrap().unwrap().into_body();
    for payload in [&b"one"[..], b"two", b"three"] {
        stream.send_data(client::message(payload), false).unwrap();
        let echoed = timeout(Duration::from_secs(10), body.data()).await.unwrap().unwrap().unwrap();
        body.flow_control().release_capacity(echoed.len()).unwrap();
        assert_eq!(echoed, client::message(payload));
    }
    stream.send_data(bytes::Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_large_answer_to_a_slow_reader_needs_little_memory_and_slows_nobody() {
    let gateway = Gateway::start().await;
    let token = client::bearer(&gateway.token("temporal-client"));
    let before = gateway.resident_kib();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut send = gateway.connect().await;
        let big = client::request(LIST, &[("authorization", &token), ("x-test", "big")]);
        let (response, _) = send.send_request(big, true).unwrap();
        stalled.push((send, response.await.unwrap().into_body()));
    }
    sleep(Duration::from_millis(500)).await;
    let grown = gateway.resident_kib() - before;
    assert!(grown < 40 << 10, "20 stalled readers of 25 MB each cost {grown} KiB");
    let other = gateway.connect().await;
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(gateway.call(&other, LIST, "temporal-client").await.status(), 0);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "50 calls beside stalled readers took {:?}", start.elapsed());
    let (_send, mut body) = stalled.pop().unwrap();
    let mut total = 0;
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
        total += length;
    }
    assert_eq!(total, 400 * (64 << 10));
}

/// SDKs ping every 10 to 30 s, calls or no calls; the protocol counts pings, not seconds.
#[tokio::test]
async fn keepalive_pings_are_answered_with_and_without_calls_and_go_no_further() {
    let gateway = Gateway::start().await;
    let papers = gateway.ca.client(gateway::certs::Client::default());
    let tls = gateway.tls(Some(papers), &[b"h2"]).await.unwrap();
    let (send, mut connection) = h2::client::handshake(tls).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    let token = client::bearer(&gateway.token("temporal-client"));
    let headers = [("authorization", token.as_str())];
    for with_calls in [false, true] {
        for _ in 0..100 {
            timeout(Duration::from_secs(10), pings.ping(h2::Ping::opaque())).await.unwrap().unwrap();
            if with_calls {
                assert_eq!(client::call(&send, LIST, &headers).await.unwrap().status(), 0);
            }
        }
    }
    assert!(!driver.is_finished());
}
