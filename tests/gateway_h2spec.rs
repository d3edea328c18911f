//! h2spec against port 7233: `scripts/conformance/h2spec.sh` installs and runs it.

#[path = "gateway/mod.rs"]
mod gateway;
#[path = "grpc/mod.rs"]
mod grpc;

use std::{env, process::Command};

use gateway::Gateway;
use grpc::{Ends, Shim};

#[tokio::test]
async fn h2spec_finds_no_fault() {
    let Some(h2spec) = env::var_os("H2SPEC_BIN") else {
        return eprintln!(
            "skipped: H2SPEC_BIN names no h2spec; scripts/conformance/h2spec.sh installs it and runs this"
        );
    };
    let mut gateway = Gateway::start().await;
    gateway.health(|health| health.serving).await;
    // h2spec has no option for a client certificate.
    let Some(shim) = Shim::start(&Ends::new(&gateway, "")) else { return };
    let mut h2spec = Command::new(h2spec);
    h2spec.args(["--host", "127.0.0.1", "--port", &shim.port, "--path", "/health", "--timeout", "5"]);
    let output = tokio::task::spawn_blocking(move || h2spec.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let summary = said.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_default();
    eprintln!("h2spec: {summary}");
    assert!(summary.ends_with(" 0 failed"), "{said}");
}
