//! Throw-away PostgreSQL with TLS, per-boot PKI and children for the tests that run real programs.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, chown},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use temporal_warden::{
    config::{Config, load},
    secret::Secret,
    temporal::{
        engine,
        schema::Job,
        settings::{INTERNAL_SERVER_NAME, InternalTls, Ports},
    },
};

pub const PASSWORD: &str = "p\"a\\s+s#%:/@'w$1&?é";

/// The program of this variable, or a loud skip.
pub fn program(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.exists());
    Some(path.unwrap_or_else(|| panic!("{variable} names no program; scripts/test.sh sets it")))
}

/// A CA and what it issues.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub ca_pem: String,
}

impl Pki {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).expect("self-signed").pem();
        Self { issuer: Issuer::new(params, key), ca_pem }
    }

    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        (params.signed_by(&key, &self.issuer).expect("issued").pem(), key.serialize_pem())
    }

    pub fn internal(&self) -> InternalTls {
        let (server_cert_pem, server_key) = self.issue(&[INTERNAL_SERVER_NAME]);
        let (client_cert_pem, client_key) = self.issue(&["gateway"]);
        InternalTls {
            ca_pem: self.ca_pem.clone(),
            server_cert_pem,
            server_key_pem: Secret::new(server_key),
            client_cert_pem,
            client_key_pem: Secret::new(client_key),
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A free port that fits PostgreSQL's smallint, in which Temporal keeps its membership ports.
fn membership_port() -> u16 {
    let mine = u16::try_from(std::process::id() % 9000).expect("a small number");
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    (20000 + mine + next..32767).find(|p| TcpListener::bind(("127.0.0.1", *p)).is_ok()).expect("a free port")
}

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Free ports, so that these tests run beside others.
pub fn free_ports() -> Ports {
    let f = free_port;
    let m = membership_port;
    Ports {
        frontend: f(),
        frontend_http: f(),
        internal_frontend: f(),
        internal_http: f(),
        history: f(),
        matching: f(),
        worker: f(),
        membership: [m(), m(), m(), m(), m()],
    }
}

/// A child that is told to stop when dropped.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).expect("a pid"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGINT);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PostgreSQL that takes TLS connections with a password only.
pub struct Postgres {
    dir: tempfile::TempDir,
    pub port: u16,
    pub ca_file: PathBuf,
    running: Option<Running>,
}

/// Programs of a PostgreSQL as Debian installs them, whichever version.
fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
    found.expect("PostgreSQL is installed: scripts/dev/install.sh postgres")
}

impl Postgres {
    /// Made, not yet started.
    pub fn new(pki: &Pki) -> Option<Self> {
        let user = User::from_name("postgres").ok().flatten();
        let user = user.expect("a user postgres: scripts/dev/install.sh postgres");
        let dir = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let ca_file = dir.path().join("ca.crt");
        fs::write(&ca_file, &pki.ca_pem).expect("ca");
        let password = dir.path().join("pw");
        fs::write(&password, PASSWORD).expect("password");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("data");
        for path in [&password, &data] {
            chown(path, Some(user.uid), Some(user.gid)).expect("chown");
        }
        let this = Self { dir, port: free_port(), ca_file, running: None };
        let mut initdb = this.command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "admin", "-A", "scram-sha-256", "--no-sync"]);
        let output = initdb.arg("--pwfile").arg(&password).output().expect("initdb runs");
        assert!(output.status.success(), "{output:?}");
        let (cert, key) = pki.issue(&["localhost"]);
        for (name, content) in [("server.crt", cert), ("server.key", key)] {
            let path = data.join(name);
            fs::write(&path, content).expect("certificate");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
            chown(&path, Some(user.uid), Some(user.gid)).expect("chown");
        }
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").expect("pg_hba");
        Some(this)
    }

    fn command(&self, name: &str) -> Command {
        let user = User::from_name("postgres").ok().flatten().expect("user postgres");
        let mut command = Command::new(postgres_programs().join(name));
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        let data = self.dir.path().join("data");
        let port = self.port.to_string();
        let mut command = self.command("postgres");
        command.arg("-D").arg(&data).args(["-p", &port, "-c", "ssl=on", "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "fsync=off", "-c", "max_connections=200", "-k"]).arg(&data);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(Running(command.spawn().expect("postgres starts")));
    }

    pub fn wait(&self) {
        until(Duration::from_secs(20), "PostgreSQL", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        until(Duration::from_secs(20), "PostgreSQL's login", || {
            let output = self.sql("postgres", "select 1");
            if !output.status.success() {
                eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            }
            output.status.success()
        });
    }

    pub fn sql(&self, database: &str, sql: &str) -> Output {
        let mut psql = self.command("psql");
        psql.env("HOME", "/nonexistent").env("PGPASSWORD", PASSWORD).env("PGSSLMODE", "require");
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "admin", "-At", "-d", database, "-c", sql]);
        psql.output().expect("psql runs")
    }
}

pub fn until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} not there after {limit:?}");
        sleep(Duration::from_millis(100));
    }
    start.elapsed()
}

/// A configuration from these variables alone.
pub fn config(environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    load::from(environment, |path| fs::read_to_string(path)).expect("valid configuration").0
}

/// Runs the schema child with `job`.
pub fn schema(job: &Job) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
    command.arg("schema").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("schema child");
    let text = serde_json::to_vec(job).expect("job");
    child.stdin.take().expect("stdin").write_all(&text).expect("job is read");
    child
}

pub fn finished(child: Child) -> (bool, String) {
    let output = child.wait_with_output().expect("child ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Starts an engine's child with its output in `log`.
pub fn start(child: &engine::Child, log: &Path) -> Running {
    let file = fs::File::create(log).expect("log");
    Running(command(child).stdout(file.try_clone().expect("log")).stderr(file).spawn().expect("engine starts"))
}

pub fn command(child: &engine::Child) -> Command {
    let mut command = Command::new(&child.program);
    command.args(&child.args).env_clear().envs(child.env.iter().map(|(k, v)| (k, v.expose())));
    command.stdin(Stdio::null());
    command
}

/// Local addresses this process listens on, from the kernel.
pub fn listening(pid: Pid) -> Vec<String> {
    let output = Command::new("ss").args(["-Hltnp"]).output().expect("ss runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mine = text.lines().filter(|l| l.contains(&format!("pid={pid},")));
    mine.filter_map(|l| l.split_whitespace().nth(3).map(str::to_owned)).collect()
}
