//! A folder of certificates, the real program's commands on it, and a running PID 1 before a test backend.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod place;

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher as _, RandomState},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
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

const LIMIT: Duration = Duration::from_secs(60);

/// A TCP port that stays free while no warden listens there: below those the kernel hands out, and kept from other tests
/// by the UDP port of the same number.
struct Port {
    number: u16,
    _kept: UdpSocket,
}

impl Port {
    fn take() -> Self {
        loop {
            let number = 10_000 + (RandomState::new().hash_one(0) % 22_000) as u16;
            if let (Ok(_kept), Ok(_)) =
                (UdpSocket::bind(("127.0.0.1", number)), TcpListener::bind(("127.0.0.1", number)))
            {
                return Self { number, _kept };
            }
        }
    }
}

/// A folder of certificates and what it takes to run commands on it.
pub struct Scene {
    pub folder: tempfile::TempDir,
    port: Port,
    upstream: String,
    more: BTreeMap<String, String>,
}

impl Scene {
    pub fn new(upstream: &str) -> Self {
        let scene = Self::empty(upstream);
        assert!(scene.run(&["init"]).status.success());
        scene
    }

    /// Before the first start.
    pub fn empty(upstream: &str) -> Self {
        let port = Port::take();
        Self { folder: tempfile::tempdir().unwrap(), port, upstream: upstream.to_owned(), more: BTreeMap::new() }
    }

    /// Where its port 7233 is.
    pub fn port(&self) -> u16 {
        self.port.number
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

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = place::command(self.folder.path(), self.port.number);
        command
            .args(args)
            .env("WARDEN_ENGINE", "external")
            .env("WARDEN_UPSTREAM", &self.upstream)
            .env("WARDEN_NAMESPACES", "")
            .env("WARDEN_DRAIN_TIMEOUT", "1s")
            .envs(&self.more)
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command while the test's own backend must go on answering, whatever comes of it.
    pub async fn try_meanwhile(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// A command while the test's own backend must go on answering.
    pub async fn meanwhile(&self, args: &[&str]) -> String {
        let output = self.try_meanwhile(args).await;
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

    /// A warden that was killed takes its gateway with it, which may be a moment later: only then its port is free.
    pub fn wait_for_the_port(&self) {
        let began = Instant::now();
        while TcpListener::bind(("127.0.0.1", self.port.number)).is_err() && began.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn warden(&self) -> Warden {
        self.wait_for_the_port();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        Warden(self.command(&["run"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// Where every warden of this scene writes.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The same as `user`, with its log in a file.
    pub fn warden_as(&self, user: Option<u32>) -> (Warden, PathBuf) {
        let path = self.folder.path().join("warden.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut command = self.command(&["run"]);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        (Warden(child), path)
    }

    /// The same, its log into a pipe that is read when the test says so.
    pub fn warden_into_pipe(&self) -> (Warden, std::process::ChildStdout) {
        let mut child = self.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let log = child.stdout.take().unwrap();
        (Warden(child), log)
    }

    pub async fn connect(&self, cert: &str, key: &str) -> SendRequest<Bytes> {
        let pair = (self.read(cert), self.read(key));
        let address = SocketAddr::from(([127, 0, 0, 1], self.port.number));
        let connected = async {
            loop {
                if let Ok(tls) = client::handshake(address, &self.read("ca.crt"), Some(pair.clone()), &[b"h2"]).await {
                    return client::h2_over(tls).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let opened = timeout(LIMIT, connected).await;
        opened.unwrap_or_else(|_| {
            panic!("port 7233 does not open:\n{}", fs::read_to_string(self.log()).unwrap_or_default())
        })
    }
}

/// A running PID 1, ended with the test.
pub struct Warden(Child);

impl Warden {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// SIGKILL, as a power failure or the kernel's memory killer would.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Its exit code, when it has ended.
    pub fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
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
