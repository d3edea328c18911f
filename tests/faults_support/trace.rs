//! SIGKILL before the n-th change a process makes to its files, to the system call; or a look at what lies there before
//! every one of them.
//!
//! By ptrace(2), so that there is nothing in the program for it: what is killed is the program that ships, and no step
//! can be forgotten. A process is held, or ended, at the entrance of the call, so that the call itself has not happened.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::{Path, PathBuf},
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

/// A system call that changes a file, about to be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Its name.
    pub call: &'static str,
    /// What it changes.
    pub path: PathBuf,
}

impl Change {
    /// The step of a publication it belongs to: below `folder` the same words for every generation, and for every file
    /// of one.
    pub fn step(&self, folder: &Path) -> String {
        let below = self.path.strip_prefix(folder).unwrap_or(&self.path);
        let part = |part: &OsStr| {
            let text = part.to_string_lossy();
            if text.starts_with("..g") { "..gN".to_owned() } else { text.into_owned() }
        };
        let mut parts: Vec<_> = below.iter().map(part).collect();
        if parts.iter().any(|part| part == "..gN")
            && parts.last().is_some_and(|last| last != "..gN" && last != "manifest.json")
        {
            *parts.last_mut().unwrap() = "FILE".to_owned();
        }
        format!("{} {}", self.call, parts.join("/"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.path.display())
    }
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Killed before this change.
    Killed(Change),
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
    pub fn kill_before(self, nth: usize, over: impl FnMut() -> bool) -> End {
        self.run(over, |at, _| at == nth)
    }

    /// Lets it run until `over` says so, and kills it there. Before each change the thread that makes it is held while
    /// `look` looks: what lies on the disk then is what a kill there would leave.
    pub fn look_before_each(self, over: impl FnMut() -> bool, mut look: impl FnMut(&Change)) -> End {
        self.run(over, |_, change| {
            look(change);
            false
        })
    }

    fn run(mut self, mut over: impl FnMut() -> bool, mut kill_at: impl FnMut(usize, &Change) -> bool) -> End {
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
                    if let Some(change) = self.change(thread).filter(|_| end.is_none()) {
                        if kill_at(self.changes, &change) {
                            end = Some(self.kill(End::Killed(change)));
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
    fn change(&mut self, thread: Pid) -> Option<Change> {
        if ptrace::syscall_info(thread).ok()?.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return None;
        }
        let (number, of) = call(thread)?;
        let new = (libc::O_CREAT | libc::O_EXCL) as u64;
        let file = || std::fs::read_link(format!("/proc/{thread}/fd/{}", of[0])).ok();
        let (call, path) = match number {
            libc::SYS_openat if of[2] & new == new => {
                self.writing.insert(thread);
                ("openat", named(thread, of[0], of[1]))
            }
            libc::SYS_write if self.writing.remove(&thread) => ("write", file()),
            libc::SYS_mkdirat => ("mkdirat", named(thread, of[0], of[1])),
            libc::SYS_symlinkat => ("symlinkat", named(thread, of[1], of[2])),
            libc::SYS_renameat | libc::SYS_renameat2 => ("renameat", named(thread, of[2], of[3])),
            libc::SYS_unlinkat => ("unlinkat", named(thread, of[0], of[1])),
            libc::SYS_fchown => ("fchown", file()),
            libc::SYS_fchmod => ("fchmod", file()),
            libc::SYS_fsync => ("fsync", file()),
            _ => return None,
        };
        Some(Change { call, path: path.unwrap_or_default() })
    }
}

/// Number and first four arguments of the call a thread has stopped at.
fn call(thread: Pid) -> Option<(libc::c_long, [u64; 4])> {
    let registers = ptrace::getregs(thread).ok()?;
    #[cfg(target_arch = "x86_64")]
    let found = (registers.orig_rax.cast_signed(), [registers.rdi, registers.rsi, registers.rdx, registers.r10]);
    #[cfg(target_arch = "aarch64")]
    let found =
        (registers.regs[8].cast_signed(), [registers.regs[0], registers.regs[1], registers.regs[2], registers.regs[3]]);
    Some(found)
}

/// The path at an address of a thread's memory, below one of its open folders.
fn named(thread: Pid, folder: u64, address: u64) -> Option<PathBuf> {
    let mut bytes = [0; 256];
    let read = std::fs::File::open(format!("/proc/{thread}/mem")).ok()?.read_at(&mut bytes, address).ok()?;
    let name = bytes[..read].split(|byte| *byte == 0).next()?;
    let folder = std::fs::read_link(format!("/proc/{thread}/fd/{folder}")).unwrap_or_default();
    Some(folder.join(OsStr::from_bytes(name)))
}

/// A thread that was killed meanwhile needs no leave.
fn go_on(thread: Pid, signal: Option<Signal>) {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => panic!("ptrace: {errno}"),
    }
}
