//! A warden whose gateway dies at its first instruction, for as long as the test says so: what a crash by its material, or
//! the kernel's memory killer, looks like from outside.

use std::{
    fs,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::warden_scene::Scene;

/// A running PID 1, held by a thread that looks at each program it starts. Ended with the test.
pub struct Doomed {
    pid: Pid,
    deaths: Arc<AtomicUsize>,
    /// Gives the exit code; `None` after a signal.
    tracer: Option<JoinHandle<Option<i32>>>,
}

impl Doomed {
    /// Every gateway that starts while `doomed` is killed.
    pub fn start(scene: &Scene, doomed: impl Fn() -> bool + Send + 'static) -> Self {
        scene.wait_for_the_port();
        let log = fs::OpenOptions::new().create(true).append(true).open(scene.log()).unwrap();
        let warden = scene.command(&["run"]);
        let words: Vec<_> = [warden.get_program()].into_iter().chain(warden.get_args()).map(Into::into).collect();
        let words: Vec<std::ffi::OsString> = words;
        let mut waiting = Command::new("/bin/sh");
        waiting.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).args(words).env_clear();
        waiting.envs(warden.get_envs().filter_map(|(name, value)| Some((name, value?))));
        waiting.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let deaths = Arc::new(AtomicUsize::new(0));
        let (count, (say, said)) = (deaths.clone(), mpsc::channel());
        // Only the thread that took hold of a process hears of it.
        let tracer = thread::spawn(move || {
            let pid = hold(&mut waiting);
            say.send(pid).unwrap();
            watch(pid, &count, &doomed)
        });
        Self { pid: said.recv().unwrap(), deaths, tracer: Some(tracer) }
    }

    /// How many gateways were killed so far.
    pub fn deaths(&self) -> usize {
        self.deaths.load(Ordering::SeqCst)
    }

    /// SIGKILL, as a power failure would.
    pub fn kill(mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        self.tracer.take().unwrap().join().unwrap();
    }

    /// Its exit code, when it has ended by itself.
    pub fn code(mut self) -> Option<i32> {
        self.tracer.take().unwrap().join().unwrap()
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            let _ = kill(self.pid, Signal::SIGTERM);
            let _ = tracer.join();
        }
    }
}

/// Starts it and takes hold of it before its first instruction.
fn hold(waiting: &mut Command) -> Pid {
    let pid = Pid::from_raw(waiting.spawn().unwrap().id().cast_signed());
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let started = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(pid, started | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    pid
}

fn watch(warden: Pid, deaths: &AtomicUsize, doomed: &dyn Fn() -> bool) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)).unwrap() {
            WaitStatus::Exited(pid, code) if pid == warden => return Some(code),
            WaitStatus::Signaled(pid, ..) if pid == warden => return None,
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) if pid != warden => {
                if is_gateway(pid) && doomed() {
                    deaths.fetch_add(1, Ordering::SeqCst);
                    let _ = kill(pid, Signal::SIGKILL);
                } else {
                    let _ = ptrace::detach(pid, None);
                }
            }
            WaitStatus::PtraceEvent(pid, ..) => drop(ptrace::cont(pid, None)),
            WaitStatus::Stopped(pid, signal) => drop(ptrace::cont(pid, signal)),
            _ => {}
        }
    }
}

fn is_gateway(pid: Pid) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).nth(1) == Some(b"gateway")
}
