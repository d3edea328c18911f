//! A whole running warden (PID 1 and its gateway) before a test backend, for tests of the audit log.
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../gateway/mod.rs"]
pub mod gateway;
pub mod load;

use std::{
    collections::BTreeMap,
    fs,
    io::BufRead,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gateway::{backend::Backend, client};
use h2::client::SendRequest;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use temporal_warden::audit::Series;
use tokio::time::sleep;

/// However busy the machine is.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A running warden; its folder outlives its processes.
pub struct Warden {
    pub folder: PathBuf,
    pub address: SocketAddr,
    pub backend: Backend,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Warden {
    /// Starts with its files below `folder` and these settings more.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let backend = Backend::start().await;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let below = |name: &str| folder.join(name).display().to_string();
        let mut environment: BTreeMap<String, String> = [
            ("WARDEN_ENGINE", "external".to_owned()),
            ("WARDEN_UPSTREAM", backend.address.to_string()),
            ("WARDEN_LISTEN", format!("127.0.0.1:{port}")),
            ("WARDEN_METRICS_LISTEN", format!("127.0.0.1:{metrics}")),
            ("WARDEN_RUNTIME_DIR", below("run")),
            ("WARDEN_CERTS_DIR", below("certs")),
            ("WARDEN_PUBLISH_DIR", below("published")),
            ("WARDEN_DATA_DIR", below("data")),
            ("WARDEN_AUDIT_FILE", below("log/audit.jsonl")),
            ("WARDEN_BACKOFF_BASE", "50ms".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let environment = environment.into_iter().collect();
        let mut warden = Self { folder: folder.to_owned(), address, backend, environment, child: None };
        warden.run().await;
        warden
    }

    /// Starts PID 1 (again) and waits until it serves.
    pub async fn run(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.folder.join("warden.log")).unwrap();
        let mut command = self.command(&["run"]);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        self.until("it serves", || self.said(&["healthcheck"]).status.success()).await;
    }

    /// A command of this warden's, as by `docker exec`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
        command.args(args).env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    pub fn said(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Waits for something, and says PID 1's log when it does not come.
    pub async fn until(&self, what: &str, good: impl Fn() -> bool) {
        let start = Instant::now();
        while !good() {
            if start.elapsed() > LIMIT {
                panic!("{what}: not within {LIMIT:?}\n{}", fs::read_to_string(self.folder.join("warden.log")).unwrap());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    /// SIGTERM, and its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ended().await
    }

    /// SIGKILL to PID 1: its children end with it.
    pub async fn kill(&mut self) {
        let gateway = self.gateway_pid();
        self.signal(Signal::SIGKILL);
        self.ended().await;
        if let Some(gateway) = gateway {
            self.until("the gateway ended", || !Path::new(&format!("/proc/{gateway}")).exists()).await;
        }
    }

    async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let start = Instant::now();
        loop {
            match child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if start.elapsed() > LIMIT => panic!("PID 1 did not end"),
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Process id of the gateway that runs now.
    pub fn gateway_pid(&self) -> Option<i32> {
        let status: serde_json::Value = serde_json::from_slice(&self.said(&["status", "--json"]).stdout).ok()?;
        let child = status["children"].as_array()?.iter().find(|child| child["name"] == "gateway")?;
        child["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    pub fn certificates(&self) -> (String, (String, String), String) {
        let read = |name: &str| fs::read_to_string(self.folder.join("certs").join(name)).unwrap();
        let client = (read("temporal-client.crt"), read("temporal-client.key"));
        (read("ca.crt"), client, client::bearer(&read("client-token.jwt")))
    }

    /// An HTTP/2 connection with the client's certificate, and its bearer token; tried until the gateway takes it.
    pub async fn connect(&self) -> (SendRequest<Bytes>, String) {
        let start = Instant::now();
        loop {
            let (trust, client, token) = self.certificates();
            match client::handshake(self.address, &trust, Some(client), &[b"h2"]).await {
                Ok(tls) => return (client::h2_over(tls).await, token),
                Err(error) => assert!(start.elapsed() < LIMIT, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn series(&self) -> Series {
        let (_, path) = self.environment.iter().find(|(name, _)| name == "WARDEN_AUDIT_FILE").unwrap();
        Series::of(Path::new(path))
    }

    /// Every record of all files, the oldest first; pieces of cut lines are left out.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let files = self.series().open_all().unwrap();
        let lines = files.into_iter().flat_map(|(_, file)| std::io::BufReader::new(file).split(b'\n'));
        lines.filter_map(|line| serde_json::from_slice(&line.unwrap()).ok()).collect()
    }

    /// The warden's own acts, as (method, sub, peer, reason).
    pub fn acts(&self) -> Vec<[String; 4]> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let own = self.records().into_iter().filter(|record| record["writer"] == "warden");
        own.map(|r| [text(&r["method"]), text(&r["principal"]["sub"]), text(&r["peer"]), text(&r["reason"])]).collect()
    }

    /// Whether `audit verify` finds no fault; with what it says.
    pub fn verified(&self) -> (bool, String) {
        let out = self.said(&["audit", "verify"]);
        (out.status.success(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
    }

    /// How often each user agent is on record; callers use one per call.
    pub fn tally(&self) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for record in self.records() {
            if let Some(agent) = record["user_agent"].as_str() {
                *tally.entry(agent.to_owned()).or_default() += 1;
            }
        }
        tally
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
