//! Limits: what one client does without end is ended, counted by name, and never noticed by the others.

#[path = "gateway/mod.rs"]
mod gateway;

use std::time::Duration;

use bytes::Bytes;
use gateway::{
    Gateway, LIST, Options, certs, client,
    hostile::{END_STREAM, Hostile, PING, SETTINGS},
};
use h2::client::SendRequest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const POLL: &str = "/temporal.api.workflowservice.v1.WorkflowService/PollWorkflowTaskQueue";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn hit(gateway: &Gateway, limit: &str) {
    let sample = format!("temporal_warden_limit_hits_total{{limit=\"{limit}\"}}");
    gateway.scrape_until(|scrape| scrape.value(&sample) >= 1.0).await;
}

/// A connection that was there before goes on as if nothing had happened.
async fn goes_on(gateway: &Gateway, send: &SendRequest<Bytes>) {
    assert_eq!(gateway.call(send, LIST, "temporal-client").await.status(), 0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection on which frames are written by hand.
async fn raw(gateway: &Gateway) -> tokio_rustls::client::TlsStream<TcpStream> {
    let pair = gateway.ca.client(certs::Client::default());
    let mut tls = gateway.tls(Some(pair), &[b"h2"]).await.unwrap();
    tls.write_all(PREFACE).await.unwrap();
    tls
}

async fn is_ended(mut tls: tokio_rustls::client::TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let over = tls.read_to_end(&mut rest);
    let _ = timeout(Duration::from_secs(20), over).await.expect("the connection was not ended");
}

#[tokio::test]
async fn one_call_too_many_on_a_connection_is_answered_and_a_place_is_free_again_afterwards() {
    let mut options = Options::default();
    options.hello.max_streams = 3;
    let gateway = Gateway::with(options).await;
    let mut send = gateway.connect().await;
    let token = client::bearer(&gateway.token("temporal-worker temporal-client"));
    let poll = || client::request(POLL, &[("authorization", &token), ("x-test", "hang")]);
    let mut parked: Vec<_> = (0..3).map(|_| send.send_request(poll(), true).unwrap()).collect();
    gateway.scrape_until(|scrape| scrape.value("temporal_warden_open_streams") == 3.0).await;
    let refused = client::call(&send, LIST, &[("authorization", &token)]).await.unwrap();
    assert_eq!(refused.status(), 8);
    assert!(refused.message().contains("WARDEN_MAX_STREAMS"), "{}", refused.message());
    hit(&gateway, "streams").await;
    goes_on(&gateway, &gateway.connect().await).await;
    parked.pop();
    gateway.scrape_until(|scrape| scrape.value("temporal_warden_open_streams") == 2.0).await;
    goes_on(&gateway, &send).await;
}

#[tokio::test]
async fn connections_are_limited_in_total_and_by_address() {
    for (total, of_one, limit) in [(2, 10, "connections"), (10, 2, "connections_per_address")] {
        let mut options = Options::default();
        (options.hello.max_connections, options.hello.max_connections_per_address) = (total, of_one);
        let gateway = Gateway::with(options).await;
        let (first, second) = (gateway.connect().await, gateway.connect().await);
        let third = gateway.tls(Some(gateway.ca.client(certs::Client::default())), &[b"h2"]).await;
        assert!(third.is_err(), "{limit}");
        hit(&gateway, limit).await;
        goes_on(&gateway, &first).await;
        drop(second);
        gateway.scrape_until(|scrape| scrape.value("temporal_warden_connections") < 2.0).await;
        goes_on(&gateway, &gateway.connect().await).await;
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_shown_out() {
    let mut options = Options::default();
    options.hello.handshake_timeout_ms = 300;
    let gateway = Gateway::with(options).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut rest = Vec::new();
    let over = silent.read_to_end(&mut rest);
    let _ = timeout(Duration::from_secs(10), over).await.expect("a silent socket is closed");
    hit(&gateway, "handshake_time").await;
    let pair = gateway.ca.client(certs::Client::default());
    is_ended(gateway.tls(Some(pair), &[b"h2"]).await.unwrap()).await;
    hit(&gateway, "header_time").await;
}

#[tokio::test]
async fn streams_reset_without_end_end_their_connection_only() {
    let gateway = Gateway::start().await;
    let bystander = gateway.connect().await;
    let mut tls = raw(&gateway).await;
    // :method POST, :scheme https, :path /, indexed in the static table of RFC 7541.
    let both = |stream| [frame(1, 0x4, stream, &[0x83, 0x87, 0x84]), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
    for number in 0..2000 {
        if tls.write_all(&both(2 * number + 1)).await.is_err() {
            break;
        }
    }
    is_ended(tls).await;
    hit(&gateway, "http2_flood").await;
    goes_on(&gateway, &bystander).await;
}

#[tokio::test]
async fn header_blocks_without_end_end_their_connection_only() {
    let gateway = Gateway::start().await;
    let bystander = gateway.connect().await;
    let mut tls = raw(&gateway).await;
    let _ = tls.write_all(&frame(1, 0, 1, &[0x83, 0x87, 0x84])).await;
    for _ in 0..2000 {
        if tls.write_all(&frame(9, 0, 1, &[])).await.is_err() {
            break;
        }
    }
    is_ended(tls).await;
    hit(&gateway, "http2_flood").await;
    goes_on(&gateway, &bystander).await;
}

#[tokio::test]
async fn a_flood_of_pings_or_settings_ends_its_connection_only() {
    let gateway = Gateway::start().await;
    let bystander = gateway.connect().await;
    for (number, flood) in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])].into_iter().enumerate() {
        let mut hostile = Hostile::connect(&gateway, &[]).await;
        hostile.reads();
        // A call under way ends with the connection, and its record says why.
        assert!(hostile.call(&gateway, 1, "hang", END_STREAM).await);
        while gateway.backend.count() < 2 * number + 1 {
            sleep(Duration::from_millis(5)).await;
        }
        let many = flood.repeat(1000);
        let ended = async { while hostile.send(&many).await {} };
        timeout(Duration::from_secs(30), ended).await.expect("the connection was not ended");
        assert!(hostile.told().is_some(), "a GOAWAY came first");
        let sample = "temporal_warden_limit_hits_total{limit=\"idle_frames\"}";
        gateway.scrape_until(|scrape| scrape.value(sample) == (number + 1) as f64).await;
        goes_on(&gateway, &bystander).await;
    }
    let recorded = |record: &serde_json::Value| record["reason"].as_str().is_some_and(|why| why.contains("flooded"));
    assert_eq!(gateway.records().iter().filter(|record| recorded(record)).count(), 2);
}

#[tokio::test]
async fn keep_alive_pings_pass_and_so_does_a_ping_for_each_answer() {
    let gateway = Gateway::start().await;
    let mut honest = Hostile::connect(&gateway, &[]).await;
    honest.reads();
    let ping = frame(PING, 0, 0, &[0; 8]);
    // What a connection sends that lives for hours at one a second.
    assert!(honest.send(&ping.repeat(9000)).await);
    // As grpc-go does it: bandwidth is measured while answers come in.
    for stream in 0..3000 {
        assert!(honest.call(&gateway, 2 * stream + 1, "", END_STREAM).await);
        assert!(honest.send(&ping.repeat(3)).await);
    }
    gateway.scrape_until(|scrape| scrape.value("temporal_warden_open_streams") == 0.0).await;
    assert_eq!((gateway.backend.count(), honest.told()), (3000, None));
}

#[tokio::test]
async fn headers_above_the_limit_are_answered_and_far_above_it_end_the_connection() {
    let gateway = Gateway::start().await;
    let bystander = gateway.connect().await;
    let send = gateway.connect().await;
    let with = |size: usize| {
        let (send, big) = (send.clone(), "x".repeat(size));
        async move { client::call(&send, LIST, &[("x-big", &big)]).await.unwrap() }
    };
    let refused = with(33 << 10).await;
    assert_eq!(refused.status(), 8);
    assert!(refused.message().contains("at most 32768"), "{}", refused.message());
    hit(&gateway, "header_list").await;
    assert_eq!(with(70 << 10).await.head.status(), 431);
    goes_on(&gateway, &send).await;
    let mut tls = raw(&gateway).await;
    // One literal of 3,000 bytes into the dynamic table (RFC 7541 §6.2.1), then 120 names of its place there.
    let mut block = vec![0x83, 0x87, 0x84, 0x40, 6];
    block.extend_from_slice(b"x-bomb");
    block.extend_from_slice(&[0x7f, 0xb9, 0x16]);
    block.extend_from_slice(&[b'x'; 3000]);
    block.extend_from_slice(&[0xbe; 120]);
    let _ = tls.write_all(&frame(1, 0x5, 1, &block)).await;
    is_ended(tls).await;
    hit(&gateway, "http2_flood").await;
    goes_on(&gateway, &bystander).await;
}

#[tokio::test]
async fn a_connection_that_brings_bad_tokens_without_end_is_ended() {
    let gateway = Gateway::start().await;
    let bystander = gateway.connect().await;
    let send = gateway.connect().await;
    let bad = async {
        for _ in 0..20_000 {
            if client::call(&send, LIST, &[("authorization", "Bearer not.a.token")]).await.is_err() {
                return true;
            }
        }
        false
    };
    assert!(timeout(Duration::from_secs(60), bad).await.expect("in time"), "20,000 bad tokens were answered");
    hit(&gateway, "bad_tokens").await;
    goes_on(&gateway, &bystander).await;
}
