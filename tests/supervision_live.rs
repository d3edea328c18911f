//! The whole warden and its processes: a hang is found by probes without an answer, and a stop is answered at any time.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::Value;

const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");
const LIMIT: Duration = Duration::from_secs(120);

/// A running warden that takes one unanswered probe for a hang.
struct Scene {
    folder: tempfile::TempDir,
    more: Vec<(&'static str, String)>,
    warden: Option<Child>,
}

impl Scene {
    fn new(more: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&data, Some(1000), Some(1000)).unwrap();
        }
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { folder, more, warden: None }
    }

    fn start(mut self) -> Self {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = self.command();
        command.arg("run").stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log));
        self.warden = Some(command.spawn().unwrap());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(WARDEN);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("WARDEN_LISTEN", "127.0.0.1:0");
        command.env("WARDEN_METRICS_LISTEN", "127.0.0.1:0").env("WARDEN_PROBE_LIMIT", "1");
        for (name, below) in [("RUNTIME", "run"), ("CERTS", "certs"), ("PUBLISH", "published"), ("DATA", "data")] {
            command.env(format!("WARDEN_{name}_DIR"), self.path(below));
        }
        command.env("WARDEN_AUDIT_FILE", self.path("audit/audit.jsonl"));
        command.envs(self.more.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    fn warden(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// This child in `status`, once it is as wanted.
    fn child(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status: Value = serde_json::from_slice(&self.warden(&["status", "--json"]).stdout).unwrap_or_default();
            let children = status["children"].as_array().cloned().unwrap_or_default();
            match children.into_iter().find(|c| c["name"] == name && wanted(c)) {
                Some(child) => return child,
                None if began.elapsed() < LIMIT => thread::sleep(Duration::from_millis(100)),
                None => panic!("{name} never got there: {}\n{}", status["children"], self.log()),
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Holds one thread of it still, as one that hangs in a system call or spins is for all others, and waits for its
    /// successor.
    fn survives_a_hang_of_a_thread(&self, name: &str, thread: &str) {
        let before = self.child(name, |c| c["state"] == "ready");
        let named = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap().trim() == thread;
        let mut tasks = fs::read_dir(format!("/proc/{}/task", before["pid"])).unwrap().map(Result::unwrap);
        let held = tasks.find(named).expect("there is such a thread").file_name();
        let held = Pid::from_raw(held.to_str().unwrap().parse().unwrap());
        let (stopped, is_held) = std::sync::mpsc::channel();
        let holder = thread::spawn(move || {
            ptrace::seize(held, Options::empty()).unwrap();
            ptrace::interrupt(held).unwrap();
            // Until it is killed, which nobody else may be told of before us.
            while !matches!(
                waitpid(held, Some(WaitPidFlag::__WALL)),
                Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_)
            ) {
                let _ = stopped.send(());
            }
        });
        is_held.recv().unwrap();
        let after = self.child(name, |c| c["state"] == "ready" && c["restarts"] == 1);
        holder.join().unwrap();
        assert_ne!(after["pid"], before["pid"]);
        let last = after["last_exit"].as_str().unwrap();
        assert!(last.ends_with(&format!("hung: unanswered probes: 1 ({thread})")), "{last}");
    }

    /// Stops it, as a process that hangs looks, and waits for its successor.
    fn survives_a_hang_of(&self, name: &str) {
        let before = self.child(name, |c| c["state"] == "ready");
        let pid = Pid::from_raw(before["pid"].as_i64().unwrap().try_into().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        let after = self.child(name, |c| c["state"] == "ready" && c["restarts"] == 1);
        assert_ne!(after["pid"], before["pid"]);
        let last = after["last_exit"].as_str().unwrap();
        assert!(last.ends_with("hung: unanswered probes: 1"), "{last}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(warden) = &mut self.warden {
            let _ = kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM);
            let _ = warden.wait();
        }
    }
}

/// The gateway alone.
const NOTHING_BEHIND: [(&str, &str); 2] = [("WARDEN_ENGINE", "external"), ("WARDEN_UPSTREAM", "127.0.0.1:1")];

#[test]
fn a_gateway_that_hangs_is_found_and_restarted_and_status_says_why() {
    // Nothing stands behind it, which is no failure of its own.
    let scene = Scene::new(&NOTHING_BEHIND).start();
    scene.survives_a_hang_of("gateway");
}

#[test]
fn one_thread_of_the_gateway_that_hangs_is_found_while_the_rest_goes_on_and_status_names_it() {
    let mut more = NOTHING_BEHIND.to_vec();
    more.extend([("WARDEN_GATEWAY_THREADS", "3"), ("WARDEN_DRAIN_TIMEOUT", "1s")]);
    let scene = Scene::new(&more).start();
    scene.survives_a_hang_of_a_thread("gateway", "worker-1");
    let log = scene.log();
    assert!(log.contains("worker-1 of the gateway gives no sign of life while the rest of it goes on"), "{log}");
    assert!(log.contains("a worker did not end within 3s: leaving without it"), "{log}");
}

#[test]
#[ignore = "runs the real programs, which scripts/test.sh brings"]
fn a_temporal_that_hangs_is_found_and_restarted_and_status_says_why() {
    let real = std::env::var_os("TEMPORAL_CLI_BIN").expect("scripts/test.sh sets it");
    // Temporal runs as its own user, which can't reach into a home folder of root's.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cli = folder.path().join("temporal");
    fs::hard_link(&real, &cli).or_else(|_| fs::copy(&real, &cli).map(drop)).unwrap();
    let scene = Scene::new(&[("WARDEN_ENGINE", "dev"), ("WARDEN_TEMPORAL_CLI", cli.to_str().unwrap())]).start();
    scene.survives_a_hang_of("temporal");
    assert!(scene.log().contains("Temporal leaves probes without any answer"), "{}", scene.log());
}

#[test]
fn a_stop_is_answered_while_another_warden_holds_the_folder() {
    let scene = Scene::new(&NOTHING_BEHIND);
    assert!(scene.warden(&["init"]).status.success());
    let lock = fs::File::open(scene.path("certs/.lock")).unwrap();
    lock.lock().unwrap();
    let mut scene = scene.start();
    let warden = scene.warden.as_mut().unwrap();
    let pid = Pid::from_raw(warden.id().cast_signed());
    let began = Instant::now();
    while !fs::read_to_string(scene.folder.path().join("log")).unwrap().contains(" starts (engine") {
        assert!(began.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(10));
    }
    kill(pid, Signal::SIGTERM).unwrap();
    let asked = Instant::now();
    let status = warden.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", scene.log());
    // WARDEN_LOCK_TIMEOUT is 30 s.
    assert!(asked.elapsed() < Duration::from_secs(20), "{}", scene.log());
}
