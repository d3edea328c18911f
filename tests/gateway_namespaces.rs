//! The record says which namespace and workflow a call was about, and no call waits for that.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use gateway::{Gateway, client};
use h2::client::SendRequest;
use serde_json::{Value, json};

const START: &str = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";
const COMPLETED: &str = "/temporal.api.workflowservice.v1.WorkflowService/RespondWorkflowTaskCompleted";
const MULTI: &str = "/temporal.api.workflowservice.v1.WorkflowService/ExecuteMultiOperation";

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
}

/// Sends `parts` as DATA frames of their own; the answer must repeat every byte.
async fn send(gateway: &Gateway, to: &SendRequest<Bytes>, path: &str, parts: &[&[u8]], headers: &[(&str, &str)]) {
    let token = client::bearer(&gateway.token("temporal-system"));
    let headers = [&[("authorization", token.as_str())], headers].concat();
    let mut to = to.clone().ready().await.unwrap();
    let (response, mut stream) = to.send_request(client::request(path, &headers), false).unwrap();
    for (at, part) in parts.iter().enumerate() {
        stream.send_data(Bytes::copy_from_slice(part), at + 1 == parts.len()).unwrap();
        tokio::task::yield_now().await;
    }
    let reply = tokio::time::timeout(Duration::from_secs(20), client::read(response)).await.unwrap().unwrap();
    assert_eq!((reply.status(), reply.body == parts.concat()), (0, true), "{}", reply.message());
}

fn last(gateway: &Gateway) -> (Value, Value) {
    let record = gateway.records().pop().unwrap();
    (record["namespace"].clone(), record["workflow_id"].clone())
}

#[tokio::test]
async fn the_record_names_the_namespace_and_workflow_however_the_message_comes() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let named = [field(1, b"first"), field(2, b"order-7"), field(1, b"orders")].concat();
    let whole = client::message(&named);
    send(&gateway, &to, START, &[&whole], &[]).await;
    assert_eq!(last(&gateway), (json!("orders"), json!("order-7")), "of duplicates the last");
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    send(&gateway, &to, START, &bytes, &[]).await;
    assert_eq!(last(&gateway), (json!("orders"), json!("order-7")), "byte by byte");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&named).unwrap();
    let packed = packed.finish().unwrap();
    let packed = [&[1], &u32::try_from(packed.len()).unwrap().to_be_bytes()[..], &packed].concat();
    send(&gateway, &to, START, &[&packed], &[("grpc-encoding", "gzip")]).await;
    assert_eq!(last(&gateway), (json!("orders"), json!("order-7")), "gzip");
    let token = field(1, &[field(1, b"0193"), field(2, b"order-8")].concat());
    send(&gateway, &to, COMPLETED, &[&client::message(&token)], &[]).await;
    assert_eq!(last(&gateway), (Value::Null, json!("order-8")), "task token");
}

#[tokio::test]
async fn what_cannot_be_read_is_forwarded_and_recorded_without_a_name() {
    let gateway = Gateway::start().await;
    let to = gateway.connect().await;
    let mut big = [field(1, b"orders"), vec![0x2a, 0x80, 0x80, 0x80, 0x02]].concat();
    big.resize(big.len() + (4 << 20), 7);
    send(&gateway, &to, START, &[&client::message(&big)], &[]).await;
    assert_eq!(last(&gateway), (Value::Null, Value::Null), "4 MiB");
    send(&gateway, &to, START, &[&client::message(b"\x0a\x7fcut")], &[]).await;
    assert_eq!(last(&gateway), (Value::Null, Value::Null), "truncated");
    let mixed = [field(1, b"a"), field(2, &field(1, &field(1, b"a"))), field(2, &field(2, &field(1, b"b")))].concat();
    send(&gateway, &to, MULTI, &[&client::message(&mixed)], &[]).await;
    assert_eq!(last(&gateway).0, Value::Null, "operations in two namespaces");
}
