//! `temporal-warden audit verify` and `audit tail`, the real binary on files.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use aws_lc_rs::digest::{SHA256, digest};

/// A whole log of `records` (their members after `prev`), hashed here and not by the code under test.
fn chained(writer: &str, records: &[String]) -> Vec<String> {
    let mut prev = "0".repeat(64);
    let line = |(n, record): (usize, &String)| {
        let line = format!(r#"{{"seq":{},"prev":"{prev}",{record},"writer":"{writer}"}}"#, n + 1);
        prev = digest(&SHA256, line.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        line + "\n"
    };
    records.iter().enumerate().map(line).collect()
}

fn log() -> Vec<String> {
    chained("gateway", &vec![r#""decision":"allow""#.to_owned(); 3])
}

fn warden(args: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
    command.args(args).env_clear().env("DB", "sqlite").env("WARDEN_AUDIT_FILE", file);
    command
}

fn said(mut command: Command) -> (Option<i32>, String) {
    let out = command.output().unwrap();
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

#[test]
fn a_whole_log_exits_0_and_a_changed_one_exits_1_naming_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let verify = |text: &str| {
        fs::write(&file, text).unwrap();
        said(warden(&["audit", "verify", file.to_str().unwrap()], Path::new("/nowhere")))
    };
    let log = log().concat();
    assert_eq!(verify(&log), (Some(0), "gateway: seq 1 to 3\nno record is missing or altered\n".to_owned()));
    let (code, text) = verify(&log.replacen("allow", "deny", 1));
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("{}:2: gateway: prev of seq 2", file.display())), "{text}");
    let (code, text) = verify(&log[..log.len() - 9]);
    assert!(code == Some(1) && text.contains("audit.jsonl:3: the last line is cut off"), "{text}");
    let (code, text) = verify(&(log + &"x".repeat(2 << 20)));
    let why = "audit.jsonl:4: not an audit record: the line does not end; the rest of this file was not read";
    assert!(code == Some(1) && text.contains(why), "{text}");
}

#[test]
fn without_arguments_the_configured_file_is_checked_after_its_rotated_predecessors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let (lines, own) = (log(), chained("warden", &vec![r#""method":"Start""#.to_owned(); 3]));
    let put = |name: &str, lines: &[&String]| {
        fs::write(folder.path().join(name), lines.iter().map(|line| line.as_str()).collect::<String>()).unwrap();
    };
    put("audit.jsonl-20261124", &[&own[0], &lines[0]]);
    put("audit.jsonl.2", &[&lines[1], &own[1]]);
    put("audit.jsonl.1", &[&own[2]]);
    put("audit.jsonl", &[&lines[2]]);
    let (code, text) = said(warden(&["audit", "verify", "--json"], &file));
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &found["intact"]), (Some(0), &true.into()), "{text}");
    assert_eq!(
        found["writers"],
        serde_json::json!({"gateway": {"first": 1, "last": 3}, "warden": {"first": 1, "last": 3}})
    );
    put("audit.jsonl.2", &[&own[1]]);
    let (code, text) = said(warden(&["audit", "verify"], &file));
    assert!(code == Some(1) && text.contains("audit.jsonl:1: gateway: seq 2 is missing, this line has 3"), "{text}");
    fs::remove_file(folder.path().join("audit.jsonl.1")).unwrap();
    put("audit.jsonl", &[&own[2].replace("Start", "Stop")]);
    put("audit.jsonl.2", &[&own[1].replace("Start", "Stop")]);
    let (code, text) = said(warden(&["audit", "verify"], &file));
    assert!(code == Some(1) && text.contains("audit.jsonl:1: warden: prev of seq 3"), "{text}");
}

fn record(hour: u32, sub: &str, method: &str, decision: &str) -> String {
    format!(
        r#""time":"2026-11-25T{hour:02}:00:00.000001Z","service":"temporal.api.workflowservice.v1.WorkflowService","method":"{method}","namespace":"default","principal":{{"sub":"{sub}"}},"decision":"{decision}","reason":"because","grpc_status":7"#
    )
}

/// Two files: hours 1 to 3 in the older one, 4 to 6 in the newer one.
fn two_files(folder: &Path) -> Vec<String> {
    let hostile = r"a\u001b[2J\u202eb";
    let records = [
        record(1, "app", "StartWorkflowExecution", "allow"),
        record(2, "app", "DeleteNamespace", "deny"),
        record(3, "worker", "PollWorkflowTaskQueue", "allow"),
        record(4, "app", "StartWorkflowExecution", "allow"),
        record(5, hostile, "ListWorkflowExecutions", "allow"),
        record(6, "app", "DeleteNamespace", "deny"),
    ];
    let lines = chained("gateway", &records);
    fs::write(folder.join("audit.jsonl.1"), lines[..3].concat()).unwrap();
    fs::write(folder.join("audit.jsonl"), lines[3..].concat()).unwrap();
    lines
}

#[test]
fn tail_reads_across_files_and_filters_by_principal_method_decision_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let lines = two_files(folder.path());
    let file = folder.path().join("audit.jsonl");
    for (args, wanted) in [
        (&[][..], &[0, 1, 2, 3, 4, 5][..]),
        (&["-n", "2"], &[4, 5]),
        (&["-n", "0"], &[]),
        (&["--principal", "app"], &[0, 1, 3, 5]),
        (&["--principal", "app", "-n", "3"], &[1, 3, 5]),
        (&["--method", "deletenamespace"], &[1, 5]),
        (&["--decision", "deny", "--until", "2026-11-25T05:00:00Z"], &[1]),
        (&["--since", "2026-11-25T04:00:00Z"], &[3, 4, 5]),
        (&["--since", "1s"], &[]),
    ] {
        let (code, text) = said(warden(&[&["audit", "tail", "--json"], args].concat(), &file));
        let expected: String = wanted.iter().map(|n| lines[*n].as_str()).collect();
        assert_eq!((code, text), (Some(0), expected), "{args:?}");
    }
    for bad in ["yesterday", "1 fortnight"] {
        assert_eq!(said(warden(&["audit", "tail", "--since", bad], &file)).0, Some(2));
    }
}

#[test]
fn tail_is_aligned_and_nothing_in_it_acts_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    two_files(folder.path());
    let (code, text) = said(warden(&["audit", "tail", "-n", "3"], &folder.path().join("audit.jsonl")));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 4), "{text}");
    let column = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("{word}: {line}"));
    assert_eq!(column(lines[0], "ALLOWED?"), column(lines[1], "allow"));
    assert_eq!(column(lines[0], "ALLOWED?"), column(lines[3], "deny"));
    assert!(lines[3].starts_with("2026-11-25T06:00:00Z  app "), "{}", lines[3]);
    assert!(lines[3].ends_with("7       because"), "{}", lines[3]);
    assert!(lines[2].contains(r"a\u{1b}[2J\u{202e}b") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_log_that_is_not_there_is_named() {
    for command in ["verify", "tail"] {
        let (code, text) = said(warden(&["audit", command], Path::new("/nowhere/audit.jsonl")));
        assert!(code == Some(1) && text.contains("/nowhere/audit.jsonl"), "{text}");
    }
}

struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn followed_over_a_rotation_every_line_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let lines = two_files(folder.path());
    let file = folder.path().join("audit.jsonl");
    let append = |name: &str, text: &str| {
        use std::io::Write;
        let path = folder.path().join(name);
        fs::File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("audit.jsonl", &lines[0][..30]);
    let mut command = warden(&["audit", "tail", "-f", "-n", "1", "--json"], &file);
    let mut child = Following(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut shown = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(shown.next().unwrap() + "\n", lines[5]);
    append("audit.jsonl", &lines[0][30..]);
    assert_eq!(shown.next().unwrap() + "\n", lines[0]);
    fs::rename(folder.path().join("audit.jsonl.1"), folder.path().join("audit.jsonl.2")).unwrap();
    fs::rename(&file, folder.path().join("audit.jsonl.1")).unwrap();
    append("audit.jsonl.1", &lines[1]);
    append("audit.jsonl", &lines[2]);
    assert_eq!(shown.next().unwrap() + "\n", lines[1], "what the gateway still wrote to the old file comes first");
    assert_eq!(shown.next().unwrap() + "\n", lines[2]);
}
