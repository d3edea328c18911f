//! The real gateway process between a test client and a test backend.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod backend;
pub mod certs;
pub mod client;
pub mod hostile;
pub mod metrics;

use std::{
    fs,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use temporal_warden::{
    config::{AuditFail, AuditSync, AuthMode, EngineKind, Log, LogFormat},
    gateway::link::{self, Auth, FromGateway, Hello, Material, Phase, Revocations, ServerTls, ToGateway, Upstream},
    tokens::{Grant, Scopes, SigningKey, jwks, mint},
};
use time::OffsetDateTime;
use tokio::net::UnixStream;

use backend::Backend;
use certs::Ca;

pub const ISSUER: &str = "temporal-warden";
pub const AUDIENCE: &str = "temporal";
pub const LIST: &str = "/temporal.api.workflowservice.v1.WorkflowService/ListWorkflowExecutions";
pub const INFO: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";

/// What the gateway itself says; shown when a test fails.
const LOG: &str = "gateway.log";

/// A running gateway and all that belongs to it.
pub struct Gateway {
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub ca: Ca,
    pub key: SigningKey,
    pub backend: Backend,
    pub material: Material,
    pub audit_file: PathBuf,
    pub child: Child,
    link: UnixStream,
    folder: tempfile::TempDir,
}

pub struct Options {
    pub hello: Hello,
    pub mode: AuthMode,
    pub auth: bool,
    pub tls: bool,
    pub audit: Option<PathBuf>,
    /// Another upstream than the backend in this process.
    pub upstream: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let hello = Hello {
            engine: EngineKind::External,
            plaintext: false,
            metrics: true,
            threads: 2,
            max_connections: 1000,
            max_connections_per_address: 1000,
            max_streams: 4000,
            handshake_timeout_ms: 5000,
            drain_timeout_ms: 3000,
            upstream_wait_ms: 2000,
            health_interval_ms: 100,
            audit_stdout: false,
            audit_sync: AuditSync::Batch,
            audit_fail: AuditFail::Closed,
            audit_last: None,
            log: Log { format: LogFormat::Text, level: "info".to_owned() },
            connect: None,
            keys_from: None,
            keys_kept: None,
        };
        Self { hello, mode: AuthMode::Enforce, auth: true, tls: true, audit: None, upstream: None }
    }
}

impl Gateway {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let backend = Backend::start().await;
        let (ca, key) = (Ca::new(), SigningKey::generate().unwrap());
        let material =
            material(&options, &ca, &key, &options.upstream.clone().unwrap_or_else(|| backend.address.to_string()));
        let folder = tempfile::tempdir().unwrap();
        let audit_file = options.audit.unwrap_or_else(|| folder.path().join("audit.jsonl"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let metrics = door.local_addr().unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let child = Command::new("sh")
            .args(["-c", r#"exec 3<&0 4<&1 7<&2 5>>"$1" </dev/null >"$2" 2>&1; exec "$0" gateway"#])
            .args([env!("CARGO_BIN_EXE_temporal-warden"), audit_file.to_str().unwrap()])
            .arg(folder.path().join(LOG))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(listener)))
            .stderr(Stdio::from(OwnedFd::from(door)))
            .spawn()
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let link = UnixStream::from_std(ours).unwrap();
        let mut gateway = Self { address, metrics, ca, key, backend, material, audit_file, child, link, folder };
        gateway.say(ToGateway::Hello(options.hello)).await;
        gateway.say(ToGateway::Phase(Phase::Ready)).await;
        gateway.switch(gateway.material.clone()).await.unwrap();
        gateway
    }

    pub async fn say(&mut self, message: ToGateway) {
        link::send(&mut self.link, &message).await.unwrap();
    }

    /// Sends material and waits until it serves, or why it does not.
    pub async fn switch(&mut self, material: Material) -> Result<(), String> {
        let sent = material.version;
        self.say(ToGateway::Material(Box::new(material))).await;
        loop {
            match link::receive::<FromGateway>(&mut self.link).await.unwrap().expect("the gateway lives") {
                FromGateway::Switched { version } if version == sent => return Ok(()),
                FromGateway::Refused { reason, .. } => return Err(reason),
                _ => {}
            }
        }
    }

    /// Has the gateway ask the backend with `token`; the backend's refusal.
    pub async fn attempt(&mut self, id: u64, token: &str) -> Option<String> {
        self.say(ToGateway::Try { id, token: token.to_owned().into() }).await;
        loop {
            match link::receive::<FromGateway>(&mut self.link).await.unwrap().expect("the gateway lives") {
                FromGateway::Tried { id: of, failure } if of == id => return failure,
                _ => {}
            }
        }
    }

    /// Waits for a message of which `pick` makes something.
    pub async fn hear<T>(&mut self, pick: impl Fn(FromGateway) -> Option<T>) -> T {
        loop {
            let said = link::receive::<FromGateway>(&mut self.link).await.unwrap().expect("the gateway lives");
            if let Some(picked) = pick(said) {
                return picked;
            }
        }
    }

    /// Waits for a health report that `good` accepts.
    pub async fn health(&mut self, good: impl Fn(&link::Health) -> bool) -> link::Health {
        loop {
            match link::receive::<FromGateway>(&mut self.link).await.unwrap().expect("the gateway lives") {
                FromGateway::Health(health) if good(&health) => return health,
                _ => {}
            }
        }
    }

    pub fn next_version(&self) -> Material {
        Material { version: self.material.version + 1, ..self.material.clone() }
    }

    pub fn token(&self, scope: &str) -> String {
        let grant = Grant {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            sub: "tester".to_owned(),
            scopes: Scopes::parse(scope),
            namespaces: None,
            cnf_x5t: None,
            life: time::Duration::hours(1),
        };
        mint(&self.key, &grant, OffsetDateTime::now_utc()).unwrap()
    }

    /// Records so far.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.audit_file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Drains and waits for the exit code.
    pub async fn drain(&mut self) -> i32 {
        self.say(ToGateway::Drain).await;
        self.exit().await
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join(LOG)).unwrap()
    }

    /// Closes the link, as if PID 1 had died.
    pub fn hang_up(&mut self) {
        let (closed, _) = UnixStream::pair().unwrap();
        self.link = closed;
    }

    pub async fn exit(&mut self) -> i32 {
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not end");
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn material(options: &Options, ca: &Ca, key: &SigningKey, upstream: &str) -> Material {
    let (chain_pem, key_pem) = ca.server();
    let tls = ServerTls { chain_pem, key_pem: key_pem.into(), trust_pem: ca.pem() };
    Material {
        version: 1,
        tls: options.tls.then_some(tls),
        auth: Auth {
            enabled: options.auth,
            mode: options.mode,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            jwks: jwks([key.public()]),
            binding: false,
            revocations: Revocations::default(),
            rules: Vec::new(),
            external: None,
        },
        upstream: Upstream { address: upstream.to_owned(), tls: None, internal_key_pem: None },
    }
}
