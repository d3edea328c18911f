//! A crash of the gateway under PID 1: connections wait in the socket that PID 1 holds, and none is refused.

#[path = "gateway/mod.rs"]
mod gateway;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gateway::{LIST, backend::Backend, client};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// However busy the machine is.
const LIMIT: Duration = Duration::from_secs(60);

/// PID 1 and its gateway before a test backend.
struct Warden {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Warden {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Warden {
    fn start(backend: &Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The gateway runs as a user of its own.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_temporal-warden"));
        command.arg("run").env_clear().stdin(Stdio::null());
        command.envs([("WARDEN_ENGINE", "external".to_owned()), ("WARDEN_UPSTREAM", backend.address.to_string())]);
        command.envs([("WARDEN_LISTEN", address.to_string()), ("WARDEN_METRICS_LISTEN", free_address().to_string())]);
        command.env("WARDEN_NAMESPACES", "");
        for (name, below) in [
            ("WARDEN_RUNTIME_DIR", "run"),
            ("WARDEN_CERTS_DIR", "certs"),
            ("WARDEN_PUBLISH_DIR", "published"),
            ("WARDEN_DATA_DIR", "data"),
            ("WARDEN_AUDIT_FILE", "log/audit.jsonl"),
        ] {
            command.env(name, folder.path().join(below));
        }
        let log = fs::File::create(folder.path().join("log.txt")).unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, address, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log.txt")).unwrap()
    }

    fn gateway(&self) -> Option<Pid> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let is_gateway =
            |pid: &&str| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0gateway\0"));
        children.split_whitespace().find(is_gateway)?.parse().ok().map(Pid::from_raw)
    }

    fn caller(&self) -> Option<Caller> {
        let read = |name: &str| fs::read_to_string(Path::new(self.folder.path()).join("certs").join(name)).ok();
        let client = (read("temporal-client.crt")?, read("temporal-client.key")?);
        let token = client::bearer(&read("client-token.jwt")?);
        Some(Caller { address: self.address, trust: read("ca.crt")?, client, token })
    }
}

/// A client with its papers; each call is on a connection of its own.
#[derive(Clone)]
struct Caller {
    address: SocketAddr,
    trust: String,
    client: (String, String),
    token: String,
}

/// How one call went.
#[derive(PartialEq)]
enum Outcome {
    Answered,
    Broken,
}

impl Caller {
    async fn call(&self) -> Outcome {
        match TcpStream::connect(self.address).await {
            Ok(tcp) => self.call_over(tcp).await,
            Err(_) => Outcome::Broken,
        }
    }

    async fn call_over(&self, tcp: TcpStream) -> Outcome {
        let tls = client::handshake_over(tcp, &self.trust, Some(self.client.clone()), &[b"h2"]).await;
        let Ok(tls) = tls else { return Outcome::Broken };
        let Ok((send, connection)) = h2::client::handshake(tls).await else { return Outcome::Broken };
        let driver = tokio::spawn(connection);
        let reply = client::call(&send, LIST, &[("authorization", &self.token)]).await;
        driver.abort();
        match reply {
            Ok(reply) if reply.status() == 0 => Outcome::Answered,
            _ => Outcome::Broken,
        }
    }
}

/// A warden that has served, and a client of it.
async fn scene(backend: &Backend) -> (Warden, Caller) {
    let mut warden = Warden::start(backend);
    let start = Instant::now();
    let caller = loop {
        if let Some(caller) = warden.caller()
            && caller.call().await == Outcome::Answered
        {
            break caller;
        }
        let ended = warden.child.try_wait().unwrap();
        assert!(ended.is_none() && start.elapsed() < LIMIT, "it does not serve\n{}", warden.log());
        sleep(Duration::from_millis(50)).await;
    };
    // PID 1 calls a child ready, and restarts it without a pause, once it reported itself.
    sleep(Duration::from_secs(1)).await;
    (warden, caller)
}

#[tokio::test]
async fn a_connection_made_while_there_is_no_gateway_is_served_by_the_next_one() {
    let backend = Backend::start().await;
    let (warden, caller) = scene(&backend).await;
    let pid1 = Pid::from_raw(warden.child.id().try_into().unwrap());
    let before = warden.gateway().expect("a gateway");
    // Nobody restarts it until these connections are there.
    kill(pid1, Signal::SIGSTOP).unwrap();
    kill(before, Signal::SIGKILL).unwrap();
    let start = Instant::now();
    while !fs::read_to_string(format!("/proc/{before}/stat")).unwrap().contains(") Z ") {
        assert!(start.elapsed() < LIMIT, "it does not die");
        sleep(Duration::from_millis(1)).await;
    }
    let mut calls = Vec::new();
    for _ in 0..50 {
        let tcp = TcpStream::connect(caller.address).await.expect("refused while there was no gateway");
        let caller = caller.clone();
        calls.push(tokio::spawn(async move { caller.call_over(tcp).await }));
    }
    sleep(Duration::from_millis(100)).await;
    assert!(calls.iter().all(|call| !call.is_finished()), "somebody else answers");
    kill(pid1, Signal::SIGCONT).unwrap();
    for call in calls {
        let outcome = timeout(LIMIT, call).await.expect("never served").unwrap();
        assert!(outcome == Outcome::Answered, "{}", warden.log());
    }
}

#[tokio::test]
async fn a_killed_gateway_is_back_at_once_and_refuses_no_connection() {
    let backend = Backend::start().await;
    let (warden, caller) = scene(&backend).await;
    let (refused, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let crowd: Vec<_> = (0..4)
        .map(|_| {
            let (address, refused, over) = (warden.address, refused.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    refused.fetch_add(usize::from(TcpStream::connect(address).await.is_err()), Ordering::Relaxed);
                    sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let before = warden.gateway().expect("a gateway");
    let killed = Instant::now();
    kill(before, Signal::SIGKILL).unwrap();
    // The first try may have been taken by the one that is killed.
    while caller.call().await != Outcome::Answered {
        assert!(killed.elapsed() < LIMIT, "{}", warden.log());
    }
    let back = killed.elapsed();
    over.store(true, Ordering::Relaxed);
    for task in crowd {
        task.await.unwrap();
    }
    eprintln!("a call was answered {back:?} after the kill, on a new connection");
    assert_ne!(warden.gateway(), Some(before));
    assert_eq!(refused.load(Ordering::Relaxed), 0, "connections were refused");
    // `ONLY=crash scripts/bench/gateway.sh` measures it; here a debug build shares two cores with anything.
    assert!(back < Duration::from_secs(10), "{back:?}");
}
