//! What is asked of Docker, and what it answers.

use std::{collections::BTreeMap, net::IpAddr};

use time::OffsetDateTime;

/// A container as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its whole id.
    pub id: String,
    /// Its first name, without the slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `running`, `exited`, `paused`, `restarting`, …
    pub state: String,
    /// Where it is on its networks.
    pub addresses: Vec<IpAddr>,
    /// What is mounted in it.
    pub mounts: Vec<Mount>,
}

/// Something mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name, or the folder of the host.
    pub of: String,
    /// Its path in the container.
    pub at: String,
}

/// Health as the daemon has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There is no health check.
    Unchecked,
    /// Not decided yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

/// A container looked at closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When its current process was started.
    pub started: Option<OffsetDateTime>,
    /// Whether it runs.
    pub running: bool,
    /// Its health.
    pub health: Health,
    /// Name of its restart policy; empty = none.
    pub restart_policy: String,
    /// Its stop signal; empty = SIGTERM.
    pub stop_signal: String,
}

/// Why Docker did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody answers.
    #[error("Docker cannot be reached at {endpoint}: {reason}")]
    Unreachable {
        /// `DOCKER_HOST`.
        endpoint: String,
        /// Cause.
        reason: String,
    },
    /// A proxy between us and Docker does not allow it.
    #[error("{what} is forbidden by what stands before Docker; allow it there")]
    Forbidden {
        /// The request.
        what: String,
    },
    /// Docker answers with an error.
    #[error("{what} failed: {reason}")]
    Failed {
        /// The request.
        what: String,
        /// Docker's words.
        reason: String,
    },
}

/// Docker, or what stands for it in a test.
#[allow(async_fn_in_trait, reason = "all of PID 1 runs on one thread")]
pub trait Engine {
    /// Every container there is.
    async fn list(&self) -> Result<Vec<Listed>, Refusal>;
    /// One container.
    async fn inspect(&self, name: &str) -> Result<Seen, Refusal>;
    /// Stops it by its own stop signal and time-out and starts it again.
    async fn restart(&self, name: &str) -> Result<(), Refusal>;
    /// Sends a signal to its first process.
    async fn signal(&self, name: &str, signal: &str) -> Result<(), Refusal>;
    /// Runs a shell command in it; an exit code other than 0 is a failure.
    async fn exec(&self, name: &str, command: &str) -> Result<(), Refusal>;
}
