//! A folder of certificates, the real program's commands on it, and a running PID 1 before a test backend.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use temporal_warden::{pki::Certificate, tokens::claimed};
use tokio::time::{sleep, timeout};

use crate::gateway::client;

const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of certificates and what it takes to run commands on it.
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub port: u16,
    upstream: String,
    more: BTreeMap<String, String>,
}

impl Scene {
    pub fn new(upstream: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let scene =
            Self { folder: tempfile::tempdir().unwrap(), port, upstream: upstream.to_owned(), more: BTreeMap::new() };
        assert!(scene.run(&["init"]).status.success());
        scene
    }

    /// The warden's own records of `act`: what came of each.
    pub fn acts(&self, act: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("audit/audit.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let own = records.filter(|record| record["writer"] == "warden" && record["method"] == act);
        own.map(|record| record["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// One more variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.more.insert(name.to_owned(), value.to_owned());
    }

    fn command(&self, args: &[&str]) -> Command {
        let below = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(WARDEN);
        command
            .args(args)
            .env_clear()
            .env("WARDEN_ENGINE", "external")
            .env("WARDEN_UPSTREAM", &self.upstream)
            .env("WARDEN_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("WARDEN_METRICS_LISTEN", "127.0.0.1:0")
            .env("WARDEN_NAMESPACES", "")
            .env("WARDEN_DRAIN_TIMEOUT", "1s")
            .env("WARDEN_RUNTIME_DIR", below("run"))
            .env("WARDEN_CERTS_DIR", below("certs"))
            .env("WARDEN_PUBLISH_DIR", below("published"))
            .env("WARDEN_DATA_DIR", below("data"))
            .env("WARDEN_AUDIT_FILE", below("audit/audit.jsonl"))
            .envs(&self.more)
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command while the test's own backend must go on answering.
    pub async fn meanwhile(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("certs").join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn revocations(&self) -> Value {
        serde_json::from_str(&self.read("revocations.json")).unwrap()
    }

    pub fn leaf(&self, name: &str) -> Certificate {
        Certificate::all_from_pem(&self.read(name)).unwrap().remove(0)
    }

    pub fn jti(&self, token: &str) -> String {
        claimed(&self.read(token)).unwrap()["jti"].as_str().unwrap().to_owned()
    }

    pub fn warden(&self) -> Warden {
        Warden(self.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub async fn connect(&self, cert: &str, key: &str) -> SendRequest<Bytes> {
        let pair = (self.read(cert), self.read(key));
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let connected = async {
            loop {
                if let Ok(tls) = client::handshake(address, &self.read("ca.crt"), Some(pair.clone()), &[b"h2"]).await {
                    return client::h2_over(tls).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, connected).await.expect("port 7233 does not open")
    }
}

/// A running PID 1, ended with the test.
pub struct Warden(Child);

impl Warden {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    pub fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.stop();
    }
}
