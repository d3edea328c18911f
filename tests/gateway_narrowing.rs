//! Tokens of some namespaces against the running gateway: nothing of another namespace reaches the backend.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use gateway::{AUDIENCE, Gateway, INFO, ISSUER, Options, client, client::Reply};
use h2::client::SendRequest;
use temporal_warden::{
    config::AuthMode,
    tokens::{Grant, Scopes, mint},
};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService";
const LIMIT: Duration = Duration::from_secs(60);

fn bound(gateway: &Gateway) -> String {
    let grant = Grant {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        sub: "shop".to_owned(),
        scopes: Scopes::parse("temporal-client temporal-worker"),
        namespaces: Some(vec!["orders".to_owned()]),
        cnf_x5t: None,
        life: time::Duration::hours(1),
    };
    client::bearer(&mint(&gateway.key, &grant, OffsetDateTime::now_utc()).unwrap())
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut length = value.len();
    let mut field = vec![number << 3 | 2];
    while length > 127 {
        field.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    [&field, value].concat()
}

/// Sends `parts` as DATA frames of their own with the token of namespace `orders`.
async fn send(gateway: &Gateway, to: &SendRequest<Bytes>, method: &str, parts: &[&[u8]], gzip: bool) -> Reply {
    let token = bound(gateway);
    let mut headers = vec![("authorization", token.as_str())];
    headers.extend(gzip.then_some(("grpc-encoding", "gzip")));
    let request = client::request(&format!("{SERVICE}/{method}"), &headers);
    let (response, mut stream) = to.clone().ready().await.unwrap().send_request(request, false).unwrap();
    for (at, part) in parts.iter().enumerate() {
        // A refusal may come before the request is over.
        if stream.send_data(Bytes::copy_from_slice(part), at + 1 == parts.len()).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    timeout(LIMIT, client::read(response)).await.expect("no answer").unwrap()
}

/// Passes unchanged.
async fn passes(gateway: &Gateway, to: &SendRequest<Bytes>, method: &str, parts: &[&[u8]], gzip: bool) {
    let reply = send(gateway, to, method, parts, gzip).await;
    assert_eq!((reply.status(), reply.body == parts.concat()), (0, true), "{method}: {}", reply.message());
}

/// Is refused and never seen by the backend.
async fn refused(gateway: &Gateway, to: &SendRequest<Bytes>, method: &str, parts: &[&[u8]], word: &str) {
    let before = gateway.backend.count();
    let reply = send(gateway, to, method, parts, false).await;
    let message = reply.message();
    assert_eq!(reply.status(), 7, "{method}: {message}");
    assert!(message.starts_with("Forbidden: the token is limited to namespaces (orders)"), "{message}");
    assert!(message.contains(word), "{method}: {message}");
    assert_eq!(gateway.backend.count(), before, "{method} reached the backend");
}

#[tokio::test]
async fn a_token_of_one_namespace_calls_there_and_nowhere_else() {
    let mut gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let own = client::message(&[field(1, b"orders"), field(2, b"order-7")].concat());
    passes(&gateway, &to, "StartWorkflowExecution", &[&own], false).await;
    let foreign = client::message(&field(1, b"payments"));
    for method in ["StartWorkflowExecution", "DescribeNamespace", "PollActivityTaskQueue", "ListWorkflowExecutions"] {
        refused(&gateway, &to, method, &[&foreign], r#"the call is for "payments""#).await;
    }
    refused(&gateway, &to, "ListWorkflowExecutions", &[&client::message(b"")], "names none").await;
    refused(&gateway, &to, "ListWorkflowExecutions", &[&client::message(b"\x0a\x7fcut")], "cannot be read").await;
    refused(&gateway, &to, "ListWorkflowExecutions", &[&own[..7]], "no whole message").await;
    refused(&gateway, &to, "ListWorkflowExecutions", &[b""], "no whole message").await;
    let token = bound(&gateway);
    let info = client::call(&to, INFO, &[("authorization", &token)]).await.unwrap();
    assert_eq!(info.status(), 0, "{}", info.message());
    gateway.drain().await;
    let records = gateway.records();
    let denied: Vec<_> = records.iter().filter(|r| r["decision"] == "deny" && r["namespace"] == "payments").collect();
    assert_eq!(denied.len(), 4, "the record names what was asked for: {records:?}");
    assert!(denied.iter().all(|r| r["grpc_status"] == 7 && r["principal"]["sub"] == "shop"));
}

#[tokio::test]
async fn a_refusal_does_not_tell_whether_the_namespace_exists() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    gateway.backend.seen.namespaces.lock().unwrap().insert("exists".to_owned(), "uuid".to_owned());
    let mut said = Vec::new();
    for name in ["exists", "absent"] {
        let message = client::message(&field(1, name.as_bytes()));
        let reply = send(&gateway, &to, "DescribeNamespace", &[&message], false).await;
        said.push((reply.status(), reply.message().replace(name, "NAME"), reply.head.headers().len()));
    }
    assert_eq!(said[0], said[1]);
}

#[tokio::test]
async fn the_message_is_read_however_it_comes() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let twice = |a: &[u8], b: &[u8]| client::message(&[field(1, a), field(2, b"id"), field(1, b)].concat());
    let (good, bad) = (twice(b"payments", b"orders"), twice(b"orders", b"payments"));
    let bytes: Vec<&[u8]> = good.chunks(1).collect();
    passes(&gateway, &to, "StartWorkflowExecution", &bytes, false).await;
    let bytes: Vec<&[u8]> = bad.chunks(1).collect();
    refused(&gateway, &to, "StartWorkflowExecution", &bytes, "payments").await;
    // Above what is read without asking for room, in many frames, the namespace at the end.
    let input = vec![7; 1 << 20];
    let large = |name: &[u8]| client::message(&[field(5, &input), field(1, name)].concat());
    let (good, bad) = (large(b"orders"), large(b"payments"));
    let frames: Vec<&[u8]> = good.chunks(10_000).collect();
    passes(&gateway, &to, "StartWorkflowExecution", &frames, false).await;
    let frames: Vec<&[u8]> = bad.chunks(10_000).collect();
    refused(&gateway, &to, "StartWorkflowExecution", &frames, "payments").await;
    let packed = |name: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&field(1, name)).unwrap();
        let packed = packed.finish().unwrap();
        [&[1], &u32::try_from(packed.len()).unwrap().to_be_bytes()[..], &packed].concat()
    };
    passes(&gateway, &to, "StartWorkflowExecution", &[&packed(b"orders")], true).await;
    let reply = send(&gateway, &to, "StartWorkflowExecution", &[&packed(b"payments")], true).await;
    assert_eq!(reply.status(), 7, "{}", reply.message());
    refused(&gateway, &to, "StartWorkflowExecution", &[&packed(b"orders")], "compressed other than by gzip").await;
    let start = |name: &[u8]| field(2, &field(1, &field(1, name)));
    let multi = |name: &[u8]| client::message(&[field(1, b"orders"), start(name)].concat());
    passes(&gateway, &to, "ExecuteMultiOperation", &[&multi(b"orders")], false).await;
    refused(&gateway, &to, "ExecuteMultiOperation", &[&multi(b"payments")], "different namespaces").await;
}

#[tokio::test]
async fn a_message_above_temporals_limit_is_refused_in_temporals_words() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let reply = send(&gateway, &to, "StartWorkflowExecution", &[&[0, 0, 0x40, 0, 1]], false).await;
    let words = "grpc: received message larger than max (4194305 vs. 4194304)";
    assert_eq!((reply.status(), reply.message().as_str()), (8, words));
    assert_eq!(gateway.backend.count(), 0);
    let rest = (4 << 20) - field(1, b"orders").len() - 5;
    let most = client::message(&[field(1, b"orders"), field(5, &vec![7; rest])].concat());
    assert_eq!(most.len(), (4 << 20) + 5);
    let frames: Vec<&[u8]> = most.chunks(16_384).collect();
    passes(&gateway, &to, "StartWorkflowExecution", &frames, false).await;
}

#[tokio::test]
async fn a_task_is_answered_only_in_the_namespace_its_token_belongs_to() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let ids = gateway.backend.seen.namespaces.clone();
    ids.lock().unwrap().insert("temporal-system".to_owned(), "uuid-0".to_owned());
    let task = |id: &str, name: &str| {
        let name = if name.is_empty() { Vec::new() } else { field(4, name.as_bytes()) };
        client::message(&[field(1, &field(1, id.as_bytes())), name].concat())
    };
    let respond = "RespondActivityTaskCompleted";
    refused(&gateway, &to, respond, &[&task("uuid-2", "orders")], "the task is of another namespace").await;
    ids.lock().unwrap().insert("orders".to_owned(), "uuid-1".to_owned());
    for good in [task("uuid-1", "orders"), task("uuid-1", "")] {
        passes(&gateway, &to, respond, &[&good], false).await;
    }
    for bad in [task("uuid-2", "orders"), task("uuid-2", ""), task("", "orders")] {
        refused(&gateway, &to, respond, &[&bad], "the task is of another namespace").await;
    }
    let command = field(2, &field(12, &field(1, b"payments")));
    let completed = [field(1, &field(1, b"uuid-1")), command, field(9, b"orders")].concat();
    let method = "RespondWorkflowTaskCompleted";
    refused(&gateway, &to, method, &[&client::message(&completed)], "a command of the workflow").await;
}

#[tokio::test]
async fn a_task_that_cannot_be_looked_up_now_may_be_answered_later() {
    let mut options = Options::default();
    options.hello.upstream_wait_ms = 300;
    let mut gateway = Gateway::with(options).await;
    let to = gateway.connect().await;
    gateway.backend.stop();
    gateway.health(|health| !health.upstream_ok).await;
    let task = client::message(&[field(1, &field(1, b"uuid-1")), field(4, b"orders")].concat());
    let reply = send(&gateway, &to, "RespondActivityTaskCompleted", &[&task], false).await;
    assert_eq!(reply.status(), 14, "{}", reply.message());
    // The kernel accepts for it, as for a process that hangs.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = Options { upstream: Some(hung.local_addr().unwrap().to_string()), ..Options::default() };
    options.hello.upstream_wait_ms = 1500;
    let silent = Gateway::with(options).await;
    let reply = send(&silent, &silent.connect().await, "RespondActivityTaskCompleted", &[&task], false).await;
    let why = "the namespace of the task cannot be looked up: no answer in time";
    assert!(reply.status() == 14 && reply.message().contains(why), "{}", reply.message());
}

#[tokio::test]
async fn methods_for_the_whole_cluster_and_unknown_ones_are_refused_to_a_bound_token() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    for method in ["ListNamespaces", "Invented"] {
        let reply = send(&gateway, &to, method, &[&client::message(b"")], false).await;
        assert_eq!(reply.status(), 7, "{method}: {}", reply.message());
    }
    assert_eq!(gateway.backend.count(), 0);
}

#[tokio::test]
async fn report_mode_serves_and_says_that_the_namespace_would_be_refused() {
    let mut gateway = Gateway::with(Options { mode: AuthMode::Report, ..Options::default() }).await;
    let to = gateway.connect().await;
    let foreign = client::message(&field(1, b"payments"));
    passes(&gateway, &to, "StartWorkflowExecution", &[&foreign], false).await;
    gateway.drain().await;
    let record = gateway.records().pop().unwrap();
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.starts_with("would be refused: Forbidden: the token is limited to namespaces (orders)"), "{record}");
}

#[tokio::test]
async fn many_unfinished_messages_neither_block_small_ones_nor_take_much_memory() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let before = gateway.resident_kib();
    let token = bound(&gateway);
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let headers = [("authorization", token.as_str())];
        let request = client::request(&format!("{SERVICE}/StartWorkflowExecution"), &headers);
        let (response, mut stream) = to.clone().ready().await.unwrap().send_request(request, false).unwrap();
        stream.send_data(Bytes::from_static(&[0, 0, 0x40, 0, 0]), false).unwrap();
        stream.send_data(Bytes::from(vec![7; (4 << 20) - 1]), false).unwrap();
        stalled.push((response, stream));
    }
    for _ in 0..40 {
        sleep(Duration::from_millis(100)).await;
        let grown = gateway.resident_kib().saturating_sub(before);
        assert!(grown < 128 << 10, "100 unfinished messages of 4 MiB cost {grown} KiB");
    }
    let other = gateway.connect().await;
    let own = client::message(&field(1, b"orders"));
    passes(&gateway, &other, "StartWorkflowExecution", &[&own], false).await;
}
