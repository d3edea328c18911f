//! The only place that waits for processes. A second waiter would steal exit codes from the first.

use std::fmt;

use nix::{sys::prctl, unistd};
use rustix::process::{self, Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

use crate::signals::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned or called `exit`.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// As a shell has it: the code itself, or 128 + the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => 128 + number,
        }
    }

    /// Whether it ended with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    fn from_status(status: WaitStatus) -> Option<Self> {
        status.exit_status().map(Self::Code).or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "killed by {}", Signal(*number)),
        }
    }
}

/// What is left after a round of reaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// More may be waiting to be reaped right now.
    More,
    /// Children live on.
    Alive,
    /// No child of any kind: everything has ended.
    Nothing,
}

/// Most orphans taken in one round: some 15 ms of work, so that a child's restart never waits for 20,000 of them.
const ROUND: usize = 512;

/// Reaps the `known` children first, then up to [`ROUND`] others, and tells each end to `ended`.
///
/// Signals coalesce, so neither the number nor the sender of SIGCHLD is looked at.
pub(super) fn reap(known: &[i32], mut ended: impl FnMut(i32, Exit)) -> Left {
    for pid in known {
        if let Ok(Some((pid, exit))) = wait(*pid) {
            ended(pid, exit);
        }
    }
    for _ in 0..ROUND {
        match wait(ANY) {
            Ok(Some((pid, exit))) => ended(pid, exit),
            Ok(None) => return Left::Alive,
            Err(_) => return Left::Nothing,
        }
    }
    Left::More
}

/// By rustix, because nix refuses a death by real-time signal after it has consumed it.
fn wait(pid: i32) -> rustix::io::Result<Option<(i32, Exit)>> {
    let ended = if pid == ANY {
        process::wait(WaitOptions::NOHANG)
    } else {
        process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG)
    };
    Ok(ended?.and_then(|(pid, status)| Some((pid.as_raw_nonzero().get(), Exit::from_status(status)?))))
}

/// Whether this child of ours has been stopped since this was last asked.
pub(super) fn is_stopped(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    matches!(process::waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG), Ok(Some(_)))
}

/// As for `waitpid(2)`.
const ANY: i32 = -1;

/// Whether orphans come to this process: as PID 1 by nature, else as sub-reaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// PID 1 of its namespace.
    Init,
    /// Something else is PID 1; we adopt what our own children leave behind.
    SubReaper,
    /// Orphans go elsewhere.
    None,
}

/// Makes this process the parent of its orphaned descendants.
pub(super) fn adopt_orphans() -> Adoption {
    if unistd::getpid().as_raw() == 1 {
        Adoption::Init
    } else if prctl::set_child_subreaper(true).is_ok() {
        Adoption::SubReaper
    } else {
        Adoption::None
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn a_death_by_signal_is_128_and_its_number() {
        assert_eq!(Exit::Signal(libc::SIGSEGV).code(), 139);
        assert_eq!((Exit::Code(3).code(), Exit::Code(0).success(), Exit::Signal(9).success()), (3, true, false));
        assert_eq!(Exit::Signal(40).to_string(), "killed by signal 40");
    }
}
