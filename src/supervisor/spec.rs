//! What the supervisor is told about a child, and what it tells about one.

use std::{ffi::OsString, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::sync::watch;

use super::{reaper::Exit, state::State};

/// A user and its only group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id; supplementary groups are dropped.
    pub gid: u32,
}

/// One start of a program.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// Prefix of its lines in the log.
    pub name: &'static str,
    /// Path of the program; a bare name is looked up in `PATH` of `env`.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Its whole environment; nothing of ours is added.
    pub env: Vec<(OsString, OsString)>,
    /// Whom it runs as; `None` = as PID 1 does, still without capabilities.
    pub user: Option<User>,
    /// What it reads; `None` = `/dev/null`. Standard output and error go to our log.
    pub stdin: Option<Arc<OwnedFd>>,
    /// Descriptors placed at exact numbers (3 and above); every other one is closed.
    pub fds: Vec<(i32, Arc<OwnedFd>)>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Limit of open files; never above the hard limit we have.
    pub nofile: Option<u64>,
    /// Gets each of its lines, besides our log.
    pub said: Option<watch::Sender<String>>,
}

/// How a supervised child is treated.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Children with the lowest rank stop first; the next rank starts to stop when they are gone.
    pub stop_rank: u8,
    /// How long [`Child::ask`] may take to make it end before it gets SIGTERM.
    pub ask_limit: Duration,
    /// How long it may live after SIGTERM before it gets SIGKILL.
    pub term_limit: Duration,
    /// How long it may take to become ready; `None` = for ever.
    pub start_limit: Option<Duration>,
    /// Failed probes in a row after which a ready child counts as hung and is restarted; 0 = never.
    pub probe_limit: u32,
    /// Started only once this child is ready.
    pub after: Option<&'static str>,
    /// Gets the signals that mean nothing to the warden itself.
    pub main: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            stop_rank: u8::MAX,
            ask_limit: Duration::ZERO,
            term_limit: Duration::from_secs(10),
            start_limit: None,
            probe_limit: 0,
            after: None,
            main: false,
        }
    }
}

/// Makes what one start needs, such as a fresh socket pair; called at each start.
pub type Make = Box<dyn FnMut() -> io::Result<ChildSpec>>;
/// Asks a child to end before it is sent SIGTERM, such as by `Drain` on its link. Must not block.
pub type Ask = Box<dyn FnMut()>;

/// A child to keep alive.
pub struct Child {
    /// Its name towards [`super::Handle`], in the log and in `status`.
    pub name: &'static str,
    /// How it is treated.
    pub policy: Policy,
    /// What each start needs.
    pub make: Make,
    /// Its own way to be asked to stop; `None` = SIGTERM at once.
    pub ask: Option<Ask>,
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child").field("name", &self.name).field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Where a child stands, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    /// As in [`Child::name`].
    pub name: &'static str,
    /// Its state.
    pub state: State,
    /// Its process, while it has one.
    pub pid: Option<i32>,
    /// Starts after the first.
    pub restarts: u32,
    /// When it entered its state.
    pub since: OffsetDateTime,
    /// How it ended last, in words.
    pub last_exit: Option<String>,
}

impl ChildStatus {
    /// All starts so far.
    pub fn starts(&self) -> u32 {
        self.restarts.saturating_add(1)
    }

    /// How many of the starts after the first `before` are over: all but that of the process that runs.
    pub fn vain_starts(&self, before: u32) -> u32 {
        self.starts().saturating_sub(before).saturating_sub(u32::from(self.state.alive()))
    }
}

/// A task that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub exit: Exit,
    /// Its last lines, for an error message.
    pub tail: Vec<String>,
}

/// Why a task has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot start {name} ({program:?}): {reason}")]
    Start {
        /// The task.
        name: &'static str,
        /// Its program.
        program: PathBuf,
        /// The step that failed and why.
        reason: String,
    },
    /// It ran into its limit and was killed.
    #[error("{name} did not finish within {limit:?} and was killed; its last lines: {}", tail.join(" | "))]
    Limit {
        /// The task.
        name: &'static str,
        /// The limit.
        limit: Duration,
        /// What it said last.
        tail: Vec<String>,
    },
    /// Everything is being stopped; nothing new is started.
    #[error("{0} was not run or not finished: the warden is stopping")]
    Stopping(&'static str),
}

/// What the supervisor passes on to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// SIGHUP: read configuration and files again.
    Hup,
    /// Everything is about to stop; told before the first child is.
    Stopping,
}
