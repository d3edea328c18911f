//! The environment of a warden that has a folder for itself: nothing of it touches the machine's own.

use std::{path::Path, process::Command};

const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");

/// The program with everything it reads and writes below `folder`, and port 7233 at `port` of this machine (0 = any).
pub fn command(folder: &Path, port: u16) -> Command {
    let below = |name: &str| folder.join(name);
    let mut command = Command::new(WARDEN);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("WARDEN_LISTEN", format!("127.0.0.1:{port}"))
        .env("WARDEN_METRICS_LISTEN", "127.0.0.1:0")
        .env("WARDEN_RUNTIME_DIR", below("run"))
        .env("WARDEN_CERTS_DIR", below("certs"))
        .env("WARDEN_PUBLISH_DIR", below("published"))
        .env("WARDEN_DATA_DIR", below("data"))
        .env("WARDEN_AUDIT_FILE", below("audit/audit.jsonl"));
    command
}
