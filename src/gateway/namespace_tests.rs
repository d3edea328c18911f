//! What is read from requests, and what is not.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::{super::methods::METHODS, *};

fn row(name: &str) -> &'static Method {
    METHODS.iter().find(|row| row.name == name && row.service.ends_with("WorkflowService")).unwrap()
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn plain(name: &str, message: &[u8]) -> Reading {
    read(row(name), &frame(0, message), false, 1 << 20)
}

fn found(name: &str) -> Namespace {
    Namespace::Found(name.to_owned())
}

#[test]
fn a_start_names_its_namespace_and_workflow() {
    let message = [field(1, b"orders"), field(2, b"order-7")].concat();
    let reading = Reading { namespace: found("orders"), workflow_id: Some("order-7".to_owned()) };
    assert_eq!(plain("StartWorkflowExecution", &message), reading);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&message).unwrap();
    let packed = frame(1, &packed.finish().unwrap());
    assert_eq!(read(row("StartWorkflowExecution"), &packed, true, 1 << 20), reading);
    for (gzip, limit) in [(true, 3), (false, 1 << 20)] {
        let refused = read(row("StartWorkflowExecution"), &packed, gzip, limit).namespace;
        assert!(matches!(refused, Namespace::Unreadable(_)), "{refused:?}");
    }
}

#[test]
fn only_the_first_frame_counts() {
    let frames = [frame(0, &field(1, b"first")), frame(0, &field(1, b"second"))].concat();
    assert_eq!(read(row("ListWorkflowExecutions"), &frames, false, 99).namespace, found("first"));
}

#[test]
fn a_task_token_gives_the_id_of_the_namespace_and_the_workflow() {
    let token = field(1, &[field(1, b"uuid"), field(2, b"order-7")].concat());
    let reading = plain("RespondWorkflowTaskCompleted", &token);
    assert_eq!(reading.namespace, Namespace::FromTaskToken { namespace_id: "uuid".to_owned() });
    assert_eq!(reading.workflow_id.as_deref(), Some("order-7"));
    let both = [token.clone(), field(9, b"orders")].concat();
    assert_eq!(plain("RespondWorkflowTaskCompleted", &both).namespace, found("orders"));
    assert_eq!(plain("RespondQueryTaskCompleted", &token).workflow_id, None, "a query's token has the queue there");
}

#[test]
fn operations_in_another_namespace_are_unreadable() {
    let start = |namespace: &[u8]| field(2, &field(1, &field(1, namespace)));
    let update = |namespace: &[u8]| field(2, &field(2, &field(1, namespace)));
    let with = |rest: &[Vec<u8>]| plain("ExecuteMultiOperation", &[field(1, b"a"), rest.concat()].concat()).namespace;
    assert_eq!(with(&[start(b"a"), update(b"a")]), found("a"));
    for mixed in [[start(b"a"), update(b"b")], [start(b"b"), update(b"a")], [start(b""), update(b"a")]] {
        assert!(matches!(with(&mixed), Namespace::Unreadable(_)));
    }
}

#[test]
fn a_namespace_given_by_id_is_unreadable_and_an_empty_one_absent() {
    let by_id = [field(1, b"orders"), field(2, b"uuid")].concat();
    assert!(matches!(plain("DescribeNamespace", &by_id).namespace, Namespace::Unreadable(_)));
    assert_eq!(plain("ListWorkflowExecutions", b"").namespace, Namespace::Absent);
    assert_eq!(plain("GetSystemInfo", &by_id).namespace, Namespace::Absent);
}

#[test]
fn nested_paths_are_those_of_the_descriptors() {
    let known = include_str!("../../tests/data/request-fields.txt");
    for line in [
        "CreateNexusEndpoint spec.target.worker.namespace 1.3.1.1\n",
        "UpdateNexusEndpoint spec.target.worker.namespace 3.3.1.1\n",
        "ExecuteMultiOperation operations[].start_workflow.namespace 2.1.1\n",
        "ExecuteMultiOperation operations[].update_workflow.namespace 2.2.1\n",
    ] {
        assert!(known.contains(line), "{line}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(at in 0..METHODS.len(), gzip: bool, bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        let _ = read(&METHODS[at], &bytes, gzip, 64);
        let _ = read(&METHODS[at], &frame(0, &bytes), gzip, 64);
    }
}

#[test]
fn a_frame_of_no_known_kind_is_not_read() {
    assert_eq!(message(&frame(2, b""), true, 9).unwrap_err(), "a frame with flag 2");
    assert_eq!(message(&frame(1, b""), false, 9).unwrap_err(), "compressed other than by gzip");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&[0; 10]).unwrap();
    let large = message(&frame(1, &gzip.finish().unwrap()), true, 9).unwrap_err();
    assert_eq!(large, "more than 9 bytes when unpacked");
    assert_eq!(message(b"\0\0\0\0\x05", false, 9).unwrap_err(), "the first message is not whole");
}
