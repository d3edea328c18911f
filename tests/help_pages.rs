//! `--help` of each command is a page like a manual's, and what it shows as an example works as it stands there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output},
};

const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");
/// The widest line that two columns leave on a terminal of 100.
const SUMMARY: usize = 80;
/// Would run until somebody ends it: its tests are pid1_supervisor and engine_server.
const NOT_RUN: &str = "temporal-warden run";

fn help(words: &[String]) -> String {
    let output = Command::new(WARDEN).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines below `heading`, up to the next blank one.
fn section<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.is_empty()).collect()
}

/// Each command with its page, from the outermost in.
fn pages() -> Vec<(Vec<String>, String)> {
    let mut found = vec![(Vec::new(), help(&[]))];
    let mut at = 0;
    while at < found.len() {
        let (words, page) = found[at].clone();
        let names = section(&page, "Commands:").into_iter().filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            let words = [words.clone(), vec![name.to_owned()]].concat();
            found.push((words.clone(), help(&words)));
        }
        at += 1;
    }
    found
}

fn examples(page: &str) -> Vec<&str> {
    section(page, "Examples:").into_iter().map(str::trim).filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_command_has_a_summary_of_one_line_examples_and_exit_codes() {
    let pages = pages();
    assert!(pages.len() > 30, "{} pages found: the reading above no longer fits clap", pages.len());
    for (words, page) in &pages {
        let summary = page.lines().next().unwrap();
        assert!(summary.len() <= SUMMARY && !summary.contains(". "), "{words:?}: {summary}");
        let own = format!("temporal-warden {}", words.join(" "));
        assert!(examples(page).iter().any(|line| line.contains(own.trim_end())), "{words:?} has no example of its own");
        let inner = section(page, "Commands:");
        assert!(!section(page, "Exit status:").is_empty() || !inner.is_empty(), "{words:?} says no exit code");
        for name in inner.iter().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            assert!(words.is_empty() || summary.contains(name), "{words:?}: the summary leaves out {name}");
        }
    }
}

#[test]
fn every_example_works_as_it_stands_there() {
    let (mut run, mut alone, mut wrong) = (0, 0, Vec::new());
    for (words, page) in pages() {
        let scene = Scene::new();
        for line in examples(&page).into_iter().filter(|line| *line != NOT_RUN) {
            let output = scene.shell(line);
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            match output.status.code() {
                Some(0) => alone += 1,
                Some(124) if is_endless(line) => {}
                Some(1) if said.contains("no running warden") => {}
                code => wrong.push(format!("{words:?}: `{line}` ended with {code:?}: {said}")),
            }
            run += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(run > 60 && alone > 40, "{run} examples, {alone} of them work without a running warden");
}

fn is_endless(line: &str) -> bool {
    line.contains("--follow") || line.contains("--watch")
}

/// What an operator has around them: certificates, an audit log, a `docker` whose container is this folder.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        let bin = scene.0.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(WARDEN, bin.join("temporal-warden")).unwrap();
        let docker = "#!/bin/sh\nset -e\n[ \"$1\" = exec ]; shift\n[ \"$1\" != -i ] || shift\n\
                      [ \"$1\" = app_data_temporal_server ]; shift\nexec \"$@\"\n";
        fs::write(bin.join("docker"), docker).unwrap();
        fs::set_permissions(bin.join("docker"), fs::Permissions::from_mode(0o755)).unwrap();
        for line in [
            "temporal-warden init",
            // What a CA would send back.
            "cp certs/temporal-server.crt server.crt && cp certs/temporal-client.crt client.crt",
            "cp certs/bundles/worker/temporal-client.crt worker.crt && cp certs/ca.crt intermediate.crt",
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=mine -keyout /dev/null \
             -addext keyUsage=critical,keyCertSign,cRLSign -out my-root.crt",
            "mkdir old && cp audit.jsonl old/audit.jsonl.1 && : > old/audit.jsonl",
        ] {
            assert!(scene.shell(line).status.success(), "{line}");
        }
        scene
    }

    fn shell(&self, line: &str) -> Output {
        let here = self.0.path();
        let line = line.replace("/etc/temporal/certs", &here.join("certs").display().to_string());
        let limit = if is_endless(&line) { "1" } else { "60" };
        let mut bash = Command::new("timeout");
        bash.args([limit, "bash", "-o", "pipefail", "-c", &line]).current_dir(here).env_clear();
        bash.env("PATH", format!("{}:/usr/bin:/bin", here.join("bin").display())).env("DB", "sqlite").env("HOME", here);
        let folders = [("CERTS", "certs"), ("PUBLISH", "published"), ("RUNTIME", "run")];
        bash.envs(folders.map(|(name, folder)| (format!("WARDEN_{name}_DIR"), here.join(folder))));
        bash.env("WARDEN_AUDIT_FILE", here.join("audit.jsonl")).output().unwrap()
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    let output = Command::new(WARDEN).args(["man", "--out"]).arg(&out).output().unwrap();
    assert!(output.status.success());
    assert_eq!(fs::read_dir(&out).unwrap().count(), pages().len());
    let page = fs::read_to_string(out.join("temporal-warden-token-mint.1")).unwrap();
    assert!([".SH NAME", ".SH OPTIONS", ".SH EXAMPLES"].iter().all(|heading| page.contains(heading)), "{page}");
    assert!(!Path::new(&out).join("temporal-warden-gateway.1").exists());
    let refused = Command::new(WARDEN).args(["man", "--out", "/dev/null/x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("name another folder with --out"));
}
