//! The warden as PID 1 of a fresh PID namespace, with somebody's command below it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const WARDEN: &str = env!("CARGO_BIN_EXE_temporal-warden");
pub const LIMIT: Duration = Duration::from_secs(20);

/// The warden as PID 1, and `unshare` around it.
pub struct Namespace {
    unshare: Child,
    pub init: Pid,
    out: tempfile::NamedTempFile,
}

impl Namespace {
    pub fn run(command: &[&str]) -> Self {
        Self::below(&[], command)
    }

    /// The same, with a program around it all, such as `env --ignore-signal`.
    pub fn below(around: &[&str], command: &[&str]) -> Self {
        let unshare = ["unshare", "--pid", "--fork", "--mount-proc", WARDEN, "run", "--"];
        let words = [around, &unshare, command].concat();
        // A file, so that what was said can be read at any time.
        let out = tempfile::NamedTempFile::new().unwrap();
        let append = || File::options().append(true).open(out.path()).unwrap();
        let mut unshare = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(append())
            .stderr(append())
            .spawn()
            .expect("unshare of util-linux is needed for tests of PID 1");
        let init = wait_for("unshare forks", || {
            if let Ok(Some(_)) = unshare.try_wait() {
                return Some(Pid::from_raw(i32::MAX));
            }
            only_child(unshare.id())
        });
        Self { unshare, init, out }
    }

    pub fn sh(script: &str) -> Self {
        Self::run(&["sh", "-c", script])
    }

    /// Waits until the warden is PID 1 there and its command has begun to run a program of this name.
    pub fn until_runs(self, name: &str) -> Self {
        wait_for("the command runs", || self.find(name));
        self
    }

    /// The same for several of them. A shell's fork that has not become its program yet still has the shell's handlers,
    /// and forgets a signal that they caught.
    pub fn until_run(self, count: usize, name: &str) -> Self {
        let found =
            || descendants(self.init.as_raw()).into_iter().filter(|p| comm(*p).as_deref() == Some(name)).count();
        wait_for("the commands run", || (found() == count).then_some(()));
        self
    }

    /// Outside pid of a descendant with this name.
    pub fn find(&self, name: &str) -> Option<Pid> {
        descendants(self.init.as_raw()).into_iter().find(|p| comm(*p).as_deref() == Some(name)).map(Pid::from_raw)
    }

    pub fn signal(&self, signal: Signal) -> &Self {
        kill(self.init, signal).unwrap();
        self
    }

    /// By number, because real-time signals have no name in nix.
    pub fn signal_number(&self, number: i32) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{number} {}", self.init)]).status().unwrap();
        assert!(sent.success());
    }

    /// Everything said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.out.path()).unwrap()
    }

    pub fn until_says(&self, text: &str) {
        wait_for(&format!("it says {text:?}"), || self.said().contains(text).then_some(()));
    }

    pub fn end(mut self) -> (ExitStatus, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.unshare.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                let _ = kill(self.init, Signal::SIGKILL);
                panic!("PID 1 did not end within {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(1));
        };
        (status, self.said())
    }

    pub fn code(self) -> Option<i32> {
        let (status, _) = self.end();
        assert_eq!(status.signal(), None);
        status.code()
    }
}

pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(Duration::from_micros(200));
    }
    panic!("waited {LIMIT:?} in vain until {what}");
}

pub fn children(pid: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

pub fn only_child(pid: u32) -> Option<Pid> {
    children(pid).first().copied().map(Pid::from_raw)
}

pub fn descendants(pid: i32) -> Vec<i32> {
    let direct = children(pid.unsigned_abs());
    direct.iter().copied().chain(direct.iter().flat_map(|p| descendants(*p))).collect()
}

pub fn comm(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

pub fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
