//! One supervised child as the actor holds it: its process, and what `status` tells of it.

use nix::libc;
use time::OffsetDateTime;

use super::{
    process::send,
    reaper::Exit,
    spec::{Child, ChildStatus},
    state::{State, Why},
};
use crate::clock;

pub(super) struct Slot {
    pub(super) child: Child,
    pub(super) pid: Option<i32>,
    pub(super) starts: u32,
    pub(super) state: State,
    pub(super) since: OffsetDateTime,
    pub(super) last_exit: Option<String>,
    /// The part of it that left the last probe unanswered; `None` = the whole.
    pub(super) silent: Option<String>,
    /// Why it was told to end, in words behind its end, until it has.
    told: Option<String>,
}

impl Slot {
    pub(super) fn new(child: Child) -> Self {
        let (state, since) = (State::Waiting, clock::now());
        Self { child, pid: None, starts: 0, state, since, last_exit: None, silent: None, told: None }
    }

    pub(super) fn ask(&mut self, why: Why) {
        self.told = Some(format!(", {why}"));
        tracing::info!(child = self.child.name, "asking it to stop");
        if let Some(ask) = &mut self.child.ask {
            ask();
        }
    }

    /// For `status`: how it ended, and why if that was our doing.
    pub(super) fn note_end(&mut self, exit: Exit) {
        self.last_exit = Some(format!("{exit}{}", self.told.take().unwrap_or_default()));
    }

    pub(super) fn terminate(&mut self, why: Why) {
        let child = self.child.name;
        // What it was asked for stays the reason when it takes too long.
        if why != Why::AskedTooLong {
            let part = self.silent.as_ref().filter(|_| matches!(why, Why::Hung(_)));
            self.told = Some(part.map_or_else(|| format!(", {why}"), |part| format!(", {why} ({part})")));
        }
        match why {
            Why::Stop | Why::Restart => tracing::info!(child, "sending SIGTERM"),
            Why::AskedTooLong => {
                tracing::warn!(child, waited = ?self.child.policy.ask_limit, "did not end when asked: sending SIGTERM");
            }
            Why::NeverReady => {
                let waited = format!("{}s", (clock::now() - self.since).whole_seconds());
                tracing::warn!(child, waited, "not ready in time: restarting it");
            }
            Why::Hung(probes) => tracing::warn!(child, probes, part = self.silent, "its probes fail: restarting it"),
        }
        self.pid.into_iter().for_each(terminate_group);
    }

    pub(super) fn status(&self) -> ChildStatus {
        ChildStatus {
            name: self.child.name,
            state: self.state,
            pid: self.pid,
            restarts: self.starts.saturating_sub(1),
            since: self.since,
            last_exit: self.last_exit.clone(),
        }
    }
}

/// SIGCONT, because a stopped process does not hear SIGTERM otherwise.
pub(super) fn terminate_group(pid: i32) {
    send(-pid, libc::SIGTERM);
    send(-pid, libc::SIGCONT);
}
