//! SIGKILL before the n-th change a process makes to its files, to the system call.
//!
//! By ptrace(2), so that there is nothing in the program for it: what is killed is the program that ships, and no step
//! can be forgotten. A process is ended at the entrance of the call, so that the call itself has not happened.

use std::{
    collections::HashSet,
    ffi::OsString,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Killed before this call.
    Killed(&'static str),
    /// What was awaited happened first, after so many changes; killed then.
    Passed(usize),
    /// It ended by itself, after so many changes.
    Ended(usize),
}

/// A process under our eyes. Only the thread that made it may use it.
pub struct Traced {
    leader: Pid,
    /// Threads that have just opened a new file: what they write next is a change, any other write is talk.
    writing: HashSet<Pid>,
    changes: usize,
}

impl Traced {
    /// Takes hold of every thread of a running process.
    pub fn seize(pid: u32) -> Self {
        let leader = Pid::from_raw(pid.cast_signed());
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread = Pid::from_raw(thread.unwrap().file_name().to_str().unwrap().parse().unwrap());
            ptrace::seize(thread, options).unwrap();
            ptrace::interrupt(thread).unwrap();
        }
        Self { leader, writing: HashSet::new(), changes: 0 }
    }

    /// Starts a program and takes hold of it before its first instruction.
    #[expect(clippy::zombie_processes, reason = "kill_before waits for it")]
    pub fn start(command: Command) -> Self {
        let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).map(OsString::from).collect();
        let mut waiting = Command::new("/bin/sh");
        waiting.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).args(words).env_clear();
        waiting.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = waiting.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        let traced = Self::seize(child.id());
        kill(pid, Signal::SIGCONT).unwrap();
        traced
    }

    pub fn id(&self) -> i32 {
        self.leader.as_raw()
    }

    /// Lets it run until its `nth` change (from 0), or until `over` says so, and kills it there.
    pub fn kill_before(mut self, nth: usize, mut over: impl FnMut() -> bool) -> End {
        let any = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let mut end = None;
        loop {
            match waitpid(None, Some(any)) {
                Ok(WaitStatus::StillAlive) if end.is_none() && over() => {
                    end = Some(self.kill(End::Passed(self.changes)))
                }
                Ok(WaitStatus::StillAlive) => std::thread::yield_now(),
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if pid == self.leader => {
                    return end.unwrap_or(End::Ended(self.changes));
                }
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    if let Some(call) = self.change(thread) {
                        if self.changes == nth && end.is_none() {
                            end = Some(self.kill(End::Killed(call)));
                        }
                        self.changes += 1;
                    }
                    go_on(thread, None);
                }
                Ok(WaitStatus::Stopped(thread, signal)) => go_on(thread, Some(signal)),
                Ok(WaitStatus::PtraceEvent(thread, ..)) => go_on(thread, None),
                Ok(_) => {}
                Err(Errno::ECHILD) => return end.unwrap_or(End::Ended(self.changes)),
                Err(errno) => panic!("waitpid: {errno}"),
            }
        }
    }

    fn kill(&self, end: End) -> End {
        kill(self.leader, Signal::SIGKILL).unwrap();
        end
    }

    /// The call a thread is about to make, when it changes a file.
    fn change(&mut self, thread: Pid) -> Option<&'static str> {
        if ptrace::syscall_info(thread).ok()?.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return None;
        }
        let (number, third) = call(thread)?;
        let new = (libc::O_CREAT | libc::O_EXCL) as u64;
        match number {
            libc::SYS_openat if third & new == new => {
                self.writing.insert(thread);
                Some("openat")
            }
            libc::SYS_write => self.writing.remove(&thread).then_some("write"),
            libc::SYS_mkdirat => Some("mkdirat"),
            libc::SYS_symlinkat => Some("symlinkat"),
            libc::SYS_renameat | libc::SYS_renameat2 => Some("renameat"),
            libc::SYS_unlinkat => Some("unlinkat"),
            libc::SYS_fchown => Some("fchown"),
            libc::SYS_fchmod => Some("fchmod"),
            libc::SYS_fsync => Some("fsync"),
            _ => None,
        }
    }
}

/// Number and third argument of the call a thread has stopped at.
fn call(thread: Pid) -> Option<(libc::c_long, u64)> {
    let registers = ptrace::getregs(thread).ok()?;
    #[cfg(target_arch = "x86_64")]
    let found = (registers.orig_rax.cast_signed(), registers.rdx);
    #[cfg(target_arch = "aarch64")]
    let found = (registers.regs[8].cast_signed(), registers.regs[2]);
    Some(found)
}

/// A thread that was killed meanwhile needs no leave.
fn go_on(thread: Pid, signal: Option<Signal>) {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("ptrace: {errno}"),
    }
}
