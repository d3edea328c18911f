//! `temporal-warden audit verify`, the real binary on files.

use std::{fs, path::Path, process::Command};

use aws_lc_rs::digest::{SHA256, digest};

/// A whole log of three records, hashed here and not by the code under test.
fn log() -> String {
    let (mut text, mut prev) = (String::new(), "0".repeat(64));
    for seq in 1..=3 {
        let line = format!(r#"{{"seq":{seq},"prev":"{prev}","writer":"gateway","decision":"allow"}}"#);
        prev = digest(&SHA256, line.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        text += &(line + "\n");
    }
    text
}

fn verify(file: &Path) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_temporal-warden")).args(["audit", "verify"]).arg(file).output().unwrap();
    (out.status.code(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn a_whole_log_exits_0_and_a_changed_one_exits_1_naming_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, log()).unwrap();
    assert_eq!(verify(&file), (Some(0), "gateway: seq 1 to 3 in order\n".to_owned()));
    fs::write(&file, log().replacen("allow", "deny", 1)).unwrap();
    let (code, text) = verify(&file);
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("{}:2: gateway: prev of seq 2", file.display())), "{text}");
    fs::write(&file, &log()[..log().len() - 9]).unwrap();
    let (code, text) = verify(&file);
    assert!(code == Some(1) && text.contains("audit.jsonl:3: the last line is cut off"), "{text}");
}
