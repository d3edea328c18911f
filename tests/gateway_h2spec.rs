//! h2spec against port 7233: `scripts/conformance/h2spec.sh` installs and runs it.

#[path = "gateway/mod.rs"]
mod gateway;
#[path = "grpc/mod.rs"]
mod grpc;

use std::{collections::BTreeSet, env, process::Command};

use gateway::Gateway;
use grpc::{Ends, Shim};

/// Some cases send a second, wrong frame and fail when the request was answered before it came: h2spec races with
/// a server that answers at once. What is wrong with the gateway is wrong in every run.
const RUNS: usize = 4;

#[tokio::test]
async fn h2spec_finds_no_fault() {
    let Some(program) = env::var_os("H2SPEC_BIN") else {
        return eprintln!(
            "skipped: H2SPEC_BIN names no h2spec; scripts/conformance/h2spec.sh installs it and runs this"
        );
    };
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    // h2spec has no option for a client certificate.
    let Some(shim) = Shim::start(Ends::new(&gateway, "")) else { return };
    let mut faults: Option<BTreeSet<String>> = None;
    for _ in 0..RUNS {
        let mut h2spec = Command::new(&program);
        h2spec.args(["--host", "127.0.0.1", "--port", &shim.port, "--path", "/health", "--timeout", "5", "--strict"]);
        let output = tokio::task::spawn_blocking(move || h2spec.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let summary = said.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("{said}"));
        eprintln!("h2spec: {summary}");
        let failed = faults_in(&said);
        assert_eq!(failed.is_empty(), summary.ends_with(" 0 failed"), "{said}");
        let left: BTreeSet<_> = faults.map_or_else(|| failed.clone(), |before| &before & &failed);
        if left.is_empty() {
            return;
        }
        faults = Some(left);
    }
    panic!("failed in each of {RUNS} runs: {faults:#?}");
}

/// Failed cases, each by its section and its words.
fn faults_in(said: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut faults = BTreeSet::new();
    for line in said.lines().skip_while(|line| !line.starts_with("Failures:")) {
        let text = line.trim();
        if let Some(case) = text.strip_prefix('×') {
            faults.insert(format!("{section}: {}", case.trim()));
        } else if text.starts_with(|first: char| first.is_ascii_digit()) {
            section = text;
        }
    }
    faults
}
