//! `temporal-warden audit report`, the real binary on files.

mod pages;

use std::{fs, path::Path, process::Command};

fn record(time: &str, sub: &str, method: &str, decision: &str, more: &str) -> String {
    format!(
        r#"{{"time":"2026-11-25T{time}Z","service":"temporal.api.workflowservice.v1.WorkflowService","method":"{method}","principal":{{"sub":"{sub}"}},"decision":"{decision}"{more}}}"#
    ) + "\n"
}

/// Two files of one morning.
fn log(folder: &Path) {
    let forbidden = r#","reason":"Forbidden: scope temporal-client may not call it","grpc_status":7"#;
    let older = [
        record("08:00:00.000001", "app", "StartWorkflowExecution", "allow", r#","grpc_status":0"#),
        record("09:00:00.000001", "app", "DeleteNamespace", "deny", forbidden),
        record("09:30:00.000001", "app", "StartWorkflowExecution", "allow", r#","grpc_status":6"#),
    ];
    let scanner = r#"{"time":"2026-11-25T10:00:00.000001Z","service":"tls","method":"handshake","principal":{},"peer":"10.0.0.9:4711","decision":"deny","reason":"not TLS"}"#;
    let sum = r#"{"time":"2026-11-25T10:30:00.000001Z","service":"tls","method":"handshake","principal":{},"peer":"10.0.0.9","decision":"deny","reason":"284 more handshakes failed from 10.0.0.9, too many to record one by one: 280 not_tls, 4 client_gone","count":284}"#;
    let newer = [
        format!("{scanner}\nno record\n{sum}\n"),
        record("11:00:00.000001", "app", "DeleteNamespace", "deny", forbidden),
        record("11:30:00.000001", "worker", "PollWorkflowTaskQueue", "allow", r#","grpc_status":0"#),
    ];
    fs::write(folder.join("audit.jsonl.1"), older.concat()).unwrap();
    fs::write(folder.join("audit.jsonl"), newer.concat()).unwrap();
}

fn said(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
    command.args(["audit", "report"]).args(args).env_clear().env("DB", "sqlite");
    let out = command.env("WARDEN_AUDIT_FILE", folder.join("audit.jsonl")).output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

const MORNING: [&str; 4] = ["--since", "2026-11-25T08:30:00Z", "--until", "2026-11-25T12:00:00Z"];

#[test]
fn refusals_come_first_then_what_was_allowed_by_who() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path());
    let (code, text) = said(folder.path(), &MORNING);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("2026-11-25T08:30:00Z to 2026-11-25T12:00:00Z: 289 operations, 287 refused\n\nREFUSED"));
    let command = format!("temporal-warden audit report {}", MORNING.join(" "));
    pages::transcript("audit-report", &command, &text);
}

#[test]
fn what_a_client_sent_moves_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = record("11:00:00.000001", r"app\u001b[2J", "DeleteNamespace", "deny", r#","reason":"no\u001b[2J""#);
    fs::write(folder.path().join("audit.jsonl"), hostile).unwrap();
    let (code, text) = said(folder.path(), &MORNING);
    assert_eq!((code, text.matches(r"\u{1b}[2J").count(), text.contains('\u{1b}')), (Some(0), 2, false), "{text}");
}

#[test]
fn as_json_it_is_one_document_with_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path());
    let (code, text) = said(folder.path(), &[&MORNING[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["operations"], &report["refused"]), (Some(0), &289.into(), &287.into()));
    let row = &report["denied"][0];
    assert_eq!((&row["who"], &row["method"], &row["count"]), (&"10.0.0.9".into(), &"handshake".into(), &285.into()));
    assert_eq!(report["allowed"][0]["failed"], 1);
}

#[test]
fn one_principal_alone_and_a_time_with_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    log(folder.path());
    let (_, text) = said(folder.path(), &[&MORNING[..], &["--principal", "worker"]].concat());
    assert!(text.contains(": 1 operations, 0 refused\n") && !text.contains("REFUSED"), "{text}");
    let (code, text) = said(folder.path(), &["--since", "1s"]);
    assert!(code == Some(0) && text.ends_with(": 0 operations, 0 refused\n"), "{text}");
}

#[test]
fn without_a_log_or_with_a_time_that_is_none_it_says_so() {
    let (code, text) = said(Path::new("/nowhere"), &[]);
    assert!(code == Some(1) && text.contains("/nowhere/audit.jsonl"), "{text}");
    assert_eq!(said(Path::new("/nowhere"), &["--since", "yesterday"]).0, Some(2));
}
