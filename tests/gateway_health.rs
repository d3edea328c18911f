//! `/health` and `grpc.health.v1`: one rule, several ways to ask.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{sync::atomic::Ordering, time::Duration};

use gateway::{Gateway, Options, client};
use http::Request;
use temporal_warden::gateway::link::{Phase, ToGateway};
use tokio::time::timeout;

const CHECK: &str = "/grpc.health.v1.Health/Check";

async fn http2(gateway: &Gateway, method: &str, path: &str) -> client::Reply {
    let mut send = gateway.connect().await;
    let request = Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap();
    client::read(send.send_request(request, true).unwrap().0).await.unwrap()
}

#[tokio::test]
async fn it_answers_over_http1_and_http2_without_a_token() {
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    let text = gateway.http1("GET /health").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains(r#""status":"SERVING""#), "{text}");
    let reply = http2(&gateway, "GET", "/health").await;
    let document: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.head.status().as_u16(), &document["status"]), (200, &"SERVING".into()));
    for part in ["phase", "upstream", "audit"] {
        assert_eq!(document[part]["ok"], true, "{part}: {document}");
    }
    assert_eq!((&document["material"], &document["listeners"]["main"]), (&1.into(), &"mtls".into()), "{document}");
    let head = gateway.http1("HEAD /health").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(http2(&gateway, "HEAD", "/health").await.head.status(), 200);
}

#[tokio::test]
async fn nothing_else_is_served_over_plain_http() {
    let gateway = Gateway::start().await;
    for (method, path, code) in [("GET", "/", 404), ("GET", "/api/v1/namespaces", 404), ("POST", "/health", 405)] {
        assert_eq!(http2(&gateway, method, path).await.head.status(), code, "{method} {path}");
    }
    assert_eq!(http2(&gateway, "POST", gateway::LIST).await.head.status(), 415);
    assert!(gateway.http1("GET /other").await.starts_with("HTTP/1.1 404"));
    assert_eq!(gateway.backend.count(), 0);
}

#[tokio::test]
async fn it_follows_the_database_the_phase_and_comes_back() {
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    gateway.backend.seen.database_down.store(true, Ordering::SeqCst);
    let down = gateway.health(|health| !health.serving).await;
    assert!(down.reason.contains("no%20database") || down.reason.contains("no database"), "{}", down.reason);
    assert_eq!(down.upstream_silent, 0, "a database that is away is no silence");
    let text = gateway.http1("GET /health").await;
    assert!(text.starts_with("HTTP/1.1 503") && text.contains(r#""status":"NOT_SERVING""#), "{text}");
    let document: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&document["upstream"]["ok"], &document["phase"]["ok"]), (&false.into(), &true.into()), "{document}");
    assert!(document["reason"].as_str().unwrap().contains(document["upstream"]["detail"].as_str().unwrap()));
    gateway.backend.seen.database_down.store(false, Ordering::SeqCst);
    gateway.health(|health| health.serving).await;
    gateway.say(ToGateway::Phase(Phase::Starting { doing: "schema 3/14".to_owned() })).await;
    assert_eq!(gateway.health(|health| !health.serving).await.reason, "schema 3/14");
}

#[tokio::test]
async fn an_upstream_that_takes_connections_and_answers_nothing_is_reported_as_silent() {
    // The kernel accepts for it, as for a process that hangs.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { upstream: Some(hung.local_addr().unwrap().to_string()), ..Options::default() };
    let mut gateway = Gateway::with(options).await;
    let early = gateway.http1("GET /health").await;
    assert!(early.contains("not probed yet"), "{early}");
    let health = timeout(Duration::from_secs(60), gateway.health(|health| health.upstream_silent > 0)).await.unwrap();
    assert!(!health.upstream_ok && health.upstream_detail.contains("no answer within 5 s"), "{health:?}");
}

#[tokio::test]
async fn grpc_health_says_the_same_and_watch_tells_each_change() {
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    let mut send = gateway.connect().await;
    let serving = client::message(&[8, 1]);
    let reply = client::call(&send, CHECK, &[("authorization", "Bearer nonsense")]).await.unwrap();
    assert_eq!((reply.status(), reply.message().as_str()), (2, "unreadable health request"));
    for (request, code, why) in [
        (client::message(b"\x0a\x01\xff"), 2, "the service name is not UTF-8"),
        (client::message(b"\x0a\x01x"), 5, "unknown service"),
        ([1, 0, 0, 0, 1, 7][..].to_vec().into(), 2, "unreadable gzip in the health request"),
    ] {
        let (response, mut stream) = send.send_request(client::request(CHECK, &[]), false).unwrap();
        stream.send_data(request, true).unwrap();
        let reply = client::read(response).await.unwrap();
        assert_eq!((reply.status(), reply.message().as_str()), (code, why));
    }
    let (response, mut stream) = send.send_request(client::request(CHECK, &[]), false).unwrap();
    stream.send_data(client::message(b""), true).unwrap();
    let reply = client::read(response).await.unwrap();
    assert_eq!((reply.status(), reply.body), (0, serving.to_vec()));
    let (response, mut stream) =
        send.send_request(client::request("/grpc.health.v1.Health/Watch", &[]), false).unwrap();
    stream.send_data(client::message(b""), true).unwrap();
    let mut watch = response.await.unwrap().into_body();
    assert_eq!(watch.data().await.unwrap().unwrap(), serving);
    gateway.backend.seen.database_down.store(true, Ordering::SeqCst);
    let next = timeout(Duration::from_secs(10), watch.data()).await.unwrap().unwrap().unwrap();
    assert_eq!(next, client::message(&[8, 2]));
    assert_eq!(gateway.backend.count(), 0);
}
