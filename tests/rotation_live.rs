//! The whole warden with the real Temporal: keys and CA change under calls that never stop.

mod live;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use live::Stack;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use temporal_warden::{pki::Certificate, tokens::kid};

impl Stack {
    fn kid(&self, token: &str) -> String {
        kid(&self.read(token)).unwrap()
    }

    fn key_count(&self) -> usize {
        self.read("temporal-jwks.json").matches("\"kid\"").count()
    }

    /// The client's files as they are now, in a folder of their own; `trust` replaces its `ca.crt`.
    fn client(&self, name: &str, trust: Option<&str>) -> Caller {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        let generation = fs::canonicalize(self.path("certs/..data")).unwrap();
        for file in ["ca.crt", "temporal-client.crt", "temporal-client.key", "system-token.jwt"] {
            fs::copy(generation.join(file), folder.join(file)).unwrap();
        }
        if let Some(trust) = trust {
            fs::write(folder.join("ca.crt"), trust).unwrap();
        }
        Caller { cli: self.path("cli"), folder, port: self.port }
    }
}
/// The real CLI with one set of files.
#[derive(Clone)]
struct Caller {
    cli: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Caller {
    /// By address: for a name grpc-go also asks the name server for a TXT record, and waits 5 s when that answer is lost.
    fn call(&self) -> Result<(), String> {
        let token = fs::read_to_string(self.folder.join("system-token.jwt")).unwrap();
        let file = |name: &str| self.folder.join(name);
        let output = Command::new(&self.cli)
            .args(["operator", "namespace", "describe", "-n", "default", "--command-timeout", "20s"])
            .args(["--address", &format!("127.0.0.1:{}", self.port), "--api-key", &token, "--tls"])
            .arg("--tls-ca-path")
            .arg(file("ca.crt"))
            .arg("--tls-cert-path")
            .arg(file("temporal-client.crt"))
            .arg("--tls-key-path")
            .arg(file("temporal-client.key"))
            .env_clear()
            .env("HOME", &self.folder)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    }
}

impl Caller {
    /// The head of the gateway's answer to a call that must not reach Temporal.
    fn ask_gateway(&self) -> String {
        let token = fs::read_to_string(self.folder.join("system-token.jwt")).unwrap();
        let method = "temporal.api.workflowservice.v1.WorkflowService/ListWorkflowExecutions";
        let output = Command::new("curl")
            .args(["-sS", "-i", "--http2", "-m", "10", "-X", "POST", "-H", "content-type: application/grpc"])
            .args(["-H", &format!("authorization: Bearer {token}")])
            .args(["--cacert", "ca.crt", "--cert", "temporal-client.crt", "--key", "temporal-client.key"])
            .arg(format!("https://localhost:{}/{method}", self.port))
            .current_dir(&self.folder)
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

/// Calls without a pause, each with the files an application would find: one generation, resolved once.
struct Traffic {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(stack: &Stack) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..4).map(|_| {
            let (data, mut caller) = (stack.path("certs/..data"), stack.client("traffic", None));
            let (stop, calls) = (stop.clone(), calls.clone());
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    caller.folder = fs::canonicalize(&data).unwrap();
                    failures.extend(caller.call().err());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        });
        let threads = threads.collect();
        Self { stop, calls, threads }
    }

    /// Number of calls, and what failed.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.calls.load(Ordering::Relaxed), failures)
    }
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn keys_tokens_and_ca_change_under_load_and_no_call_fails() {
    let stack = Stack::start();
    let yesterday = stack.client("yesterday", None);
    let old_ca = stack.read("ca.crt");
    let traffic = Traffic::start(&stack);

    let old_kid = stack.kid("system-token.jwt");
    let said = stack.must(&["token", "generate", "--rotate-key"]);
    assert!(said.contains("waiting until Temporal has taken it"), "{said}");
    let new_kid = stack.kid("system-token.jwt");
    assert!(new_kid != old_kid && stack.key_count() == 2);
    // Straight after the command: had it come before Temporal's next look at the JWKS, this would be refused.
    stack.client("today", None).call().unwrap();
    yesterday.call().unwrap();
    assert!(stack.log().contains("Temporal accepts the new signing key"), "{}", stack.log());

    stack.must(&["cert", "generate"]);
    stack.must(&["cert", "generate", "--rotate-ca"]);
    let both = stack.read("ca.crt");
    let new_ca = Certificate::all_from_pem(&both).unwrap()[0].to_pem();
    yesterday.call().unwrap();
    stack.client("tomorrow", Some(&new_ca)).call().unwrap();
    stack.client("old-trust", Some(&old_ca)).call().unwrap();
    stack.must(&["token", "generate"]);
    let (calls, failures) = traffic.end();
    eprintln!("{calls} calls, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:?}\n{}", stack.log());

    stack.must(&["token", "retire"]);
    assert_eq!(stack.key_count(), 1);
    assert!(yesterday.call().unwrap_err().contains("Unauthorized"));
    stack.must(&["cert", "retire"]);
    assert!(yesterday.call().is_err());
    stack.client("tomorrow", Some(&new_ca)).call().unwrap();
    stack.must(&["cert", "verify"]);
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn a_change_of_the_signing_key_that_broke_off_is_taken_up_at_the_next_start() {
    let mut stack = Stack::start();
    let old_kid = stack.kid("system-token.jwt");
    let asking = stack.command().args(["token", "generate", "--rotate-key"]).stdout(Stdio::null()).spawn().unwrap();
    stack.until("the new key is published", || stack.key_count() == 2);
    let mut warden = stack.warden.take().unwrap();
    warden.kill().unwrap();
    warden.wait().unwrap();
    let mut asking = asking;
    assert!(!asking.wait().unwrap().success(), "the one who asked is told");
    assert_eq!(stack.kid("system-token.jwt"), old_kid, "killed between the two steps");
    // Both halves hold: the old tokens pass, and the folder is in order.
    stack.must(&["cert", "verify"]);
    end_orphans(stack.folder.path());
    stack.run();
    stack.client("meanwhile", None).call().unwrap();
    stack.until("tokens by the new key", || stack.kid("system-token.jwt") != old_kid);
    stack.until("the change is recorded", || stack.read("state.json").contains("\"phase\": \"overlap\""));
    stack.client("after", None).call().unwrap();
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn a_revocation_waits_for_no_change_of_the_signing_key() {
    let stack = Stack::start();
    let stolen = stack.client("stolen", None);
    stolen.call().unwrap();
    // While Temporal stands still it can't accept the new key.
    let temporal = processes_of(&stack.path("server"));
    assert!(!temporal.is_empty());
    let all = |signal| temporal.iter().for_each(|pid| kill(*pid, signal).unwrap());
    all(Signal::SIGSTOP);
    let mut asking = stack.command().args(["token", "generate", "--rotate-key"]).stdout(Stdio::null()).spawn().unwrap();
    stack.until("the new key is published", || stack.key_count() == 2);
    stack.must(&["token", "revoke", stolen.folder.join("system-token.jwt").to_str().unwrap()]);
    let answer = stolen.ask_gateway();
    assert!(answer.contains("grpc-status: 16") && answer.contains("revoked"), "{answer}");
    assert!(asking.try_wait().unwrap().is_none(), "the change of the key still waits");
    all(Signal::SIGCONT);
    assert!(asking.wait().unwrap().success(), "{}", stack.log());
    stack.client("after", None).call().unwrap();
    let refused = stolen.call().unwrap_err();
    assert!(refused.contains("the token was revoked"), "{refused}");
    stack.must(&["cert", "verify"]);
}

fn processes_of(program: &Path) -> Vec<Pid> {
    let of = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    let all = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    all.filter(of).map(Pid::from_raw).collect()
}

/// A killed PID 1 takes a container's processes with it; here they are ended by hand.
fn end_orphans(folder: &Path) {
    let ours = |pid: i32| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (program.starts_with(folder)).then_some(Pid::from_raw(pid))
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    for pid in all.filter_map(ours) {
        let _ = kill(pid, Signal::SIGKILL);
    }
}
