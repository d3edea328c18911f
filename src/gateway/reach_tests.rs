//! What a token of some namespaces may ask for, shape by shape.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::{super::methods::METHODS, *};

fn row(name: &str) -> &'static Method {
    METHODS.iter().find(|row| row.name == name && row.service.ends_with("WorkflowService")).unwrap()
}

fn names() -> Vec<String> {
    vec!["orders".to_owned(), "billing".to_owned()]
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// `Ok` with the ids to look up, or the refusal in words.
fn judged(method: &str, message: &[u8]) -> Result<Option<(Vec<String>, String)>, String> {
    let reach = read(row(method), &frame(0, message), false)?;
    let names = names();
    let task = within(&names, &reach).map_err(|refusal| refusal.to_string())?;
    Ok(task.map(|task| (task.names.iter().map(|name| (*name).to_owned()).collect(), task.id.to_owned())))
}

fn task(ids: &[&str], id: &str) -> Result<Option<(Vec<String>, String)>, String> {
    Ok(Some((ids.iter().map(|name| (*name).to_owned()).collect(), id.to_owned())))
}

#[test]
fn a_foreign_namespace_is_refused_in_every_field_that_may_name_it() {
    for (method, number) in [
        ("StartWorkflowExecution", 1),
        ("RecordActivityTaskHeartbeatById", 1),
        ("RespondWorkflowTaskFailed", 6),
        ("RespondWorkflowTaskCompleted", 9),
        ("RespondActivityTaskFailed", 4),
    ] {
        let refusal = judged(method, &field(number, b"payments")).unwrap_err();
        let words =
            r#"Forbidden: the token is limited to namespaces (orders, billing), and the call is for "payments""#;
        assert_eq!(refusal, words, "{method}");
    }
    assert_eq!(judged("StartWorkflowExecution", &field(1, b"billing")), Ok(None));
}

#[test]
fn of_duplicates_the_last_counts_as_it_does_for_the_server() {
    let last = |a: &[u8], b: &[u8]| judged("StartWorkflowExecution", &[field(1, a), field(1, b)].concat());
    assert_eq!(last(b"payments", b"orders"), Ok(None));
    assert!(last(b"orders", b"payments").is_err());
    // Proto3 has no way back to empty but by writing it.
    assert!(last(b"orders", b"").is_err());
}

#[test]
fn names_are_compared_byte_for_byte() {
    for name in ["Orders", "orders ", "order", "orders\0", "оrders"] {
        assert!(judged("StartWorkflowExecution", &field(1, name.as_bytes())).is_err(), "{name:?}");
    }
}

#[test]
fn an_empty_namespace_passes_only_with_a_task_token_that_is_looked_up() {
    for method in
        ["StartWorkflowExecution", "DescribeNamespace", "PollActivityTaskQueue", "RespondActivityTaskCompleted"]
    {
        assert!(judged(method, b"").unwrap_err().contains("names none"), "{method}");
    }
    let token = field(1, b"uuid-1");
    assert_eq!(judged("RespondActivityTaskCompleted", &field(1, &token)), task(&["orders", "billing"], "uuid-1"));
    assert_eq!(judged("RespondNexusTaskCompleted", &field(3, &token)), task(&["orders", "billing"], "uuid-1"));
    // The server goes by the token first, so a name beside it does not settle it.
    let both = [field(1, &token), field(4, b"orders")].concat();
    assert_eq!(judged("RespondActivityTaskCompleted", &both), task(&["orders"], "uuid-1"));
    let twice = [field(1, &token), field(1, &field(1, b"uuid-2")), field(4, b"orders")].concat();
    assert_eq!(judged("RespondActivityTaskCompleted", &twice), task(&["orders"], "uuid-2"), "the last token");
    let broken = [field(1, b"\x0a\x7fcut"), field(4, b"orders")].concat();
    assert!(judged("RespondActivityTaskCompleted", &broken).is_err());
}

#[test]
fn a_namespace_given_by_id_is_refused() {
    let by_id = [field(1, b"orders"), field(2, b"uuid")].concat();
    assert!(judged("DescribeNamespace", &by_id).unwrap_err().contains("by its id"));
}

#[test]
fn nested_operations_must_be_in_the_same_namespace() {
    let start = |namespace: &[u8]| field(2, &field(1, &field(1, namespace)));
    let with = |outer: &[u8], inner: Vec<u8>| judged("ExecuteMultiOperation", &[field(1, outer), inner].concat());
    assert_eq!(with(b"orders", start(b"orders")), Ok(None));
    for (outer, inner) in
        [(&b"orders"[..], start(b"payments")), (b"orders", start(b"billing")), (b"", start(b"orders"))]
    {
        assert!(with(outer, inner).is_err());
    }
}

#[test]
fn commands_of_a_workflow_may_not_leave_the_namespaces() {
    let token = field(1, &field(1, b"uuid"));
    let command = |number, namespace: &[u8]| field(2, &field(number, &field(1, namespace)));
    let with = |command: Vec<u8>| {
        judged("RespondWorkflowTaskCompleted", &[token.clone(), command, field(9, b"orders")].concat())
    };
    for number in [9, 12, 13] {
        assert!(
            with(command(number, b"payments")).unwrap_err().contains(r#"a command of the workflow is for "payments""#)
        );
        for good in [&b""[..], b"orders", b"billing"] {
            assert_eq!(with(command(number, good)), task(&["orders"], "uuid"));
        }
    }
}

#[test]
fn compressed_requests_are_read_and_bombs_are_not() {
    let gzip = |message: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(message).unwrap();
        frame(1, &packed.finish().unwrap())
    };
    let start = row("StartWorkflowExecution");
    let reach = read(start, &gzip(&field(1, b"payments")), true).unwrap();
    assert!(within(&names(), &reach).is_err());
    assert!(read(start, &gzip(&field(1, b"orders")), false).is_err(), "another encoding");
    assert!(read(start, &gzip(&vec![0; LARGEST + 1]), true).unwrap_err().contains("when unpacked"));
}

#[test]
fn methods_that_name_no_namespace_are_judged_by_their_row() {
    let needs = |name: &str| needs_reading(&names(), Some(row(name)), name);
    assert_eq!(needs("StartWorkflowExecution"), Ok(true));
    assert_eq!(needs("GetSearchAttributes"), Ok(false));
    assert!(needs("ListNamespaces").is_err() && needs("GetClusterInfo").is_err());
    assert!(needs_reading(&names(), None, "/temporal.api.workflowservice.v1.WorkflowService/Invented").is_err());
}

#[test]
fn every_row_that_may_name_a_namespace_refuses_an_empty_request() {
    for row in METHODS.iter().filter(|row| !row.namespace.is_empty()) {
        let reach = read(row, &frame(0, b""), false).unwrap();
        assert!(within(&names(), &reach).is_err(), "{}/{}", row.service, row.name);
    }
}

#[test]
fn paths_of_commands_are_those_of_the_descriptors() {
    let known = include_str!("../../tests/data/request-fields.txt");
    for (attributes, path) in [
        ("request_cancel_external_workflow_execution", "2.9.1"),
        ("start_child_workflow_execution", "2.12.1"),
        ("signal_external_workflow_execution", "2.13.1"),
    ] {
        let line =
            format!("RespondWorkflowTaskCompleted commands[].{attributes}_command_attributes.namespace {path}\n");
        assert!(known.contains(&line), "{line}");
    }
}

proptest! {
    #[test]
    fn whatever_passes_names_only_namespaces_of_the_token(
        at in 0..METHODS.len(),
        values in prop::collection::vec((1u8..16, prop::sample::select(vec!["orders", "payments", ""])), 0..6),
    ) {
        let row = &METHODS[at];
        let message: Vec<u8> = values.iter().flat_map(|(number, value)| field(*number, value.as_bytes())).collect();
        if let Ok(reach) = read(row, &frame(0, &message), false)
            && within(&names(), &reach).is_ok()
            && let Some(number) = row.field("namespace")
        {
            let last = values.iter().rev().find(|(known, _)| u32::from(*known) == number);
            prop_assert!(last.is_none_or(|(_, value)| *value != "payments"));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(at in 0..METHODS.len(), gzip: bool, bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        let _ = read(&METHODS[at], &bytes, gzip);
        let _ = read(&METHODS[at], &frame(0, &bytes), gzip).map(|reach| within(&names(), &reach).is_ok());
    }
}
