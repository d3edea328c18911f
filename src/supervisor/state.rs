//! The supervisor as a table: (state, event) → (state, actions). Knows no process, no clock and no chance.
//!
//! ```text
//!           supervise                 ready
//! Waiting ───────────▶ Starting ──────────────▶ Ready
//!    ▲ after            ▲  │ ends / too long      │ ends / probes fail (through Stopping)
//!                 delay │  ▼                      ▼
//!                      Backoff ◀── failure ── GaveUp: everything stops with the child's code
//!                                    stop
//! any of them ─────────────────────────────────▶ Stopping ──ends──▶ Stopped
//! ```

mod child;

use std::time::{Duration, Instant};

use self::child::{Child, Step, Then};
use super::{reaper::Exit, spec::Policy};
use crate::{backoff, config};

/// Where a child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started yet: the child it follows is not ready.
    Waiting,
    /// Runs, not ready yet.
    Starting,
    /// Runs and has said (or was found) to be ready.
    Ready,
    /// Failed; its next start is due after a delay.
    Backoff,
    /// Was told to end.
    Stopping,
    /// Has ended because it was told to.
    Stopped,
    /// Failed too often.
    GaveUp,
}

impl State {
    /// The word for `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::GaveUp => "gave up",
        }
    }

    /// Whether there is a process.
    pub fn alive(self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Stopping)
    }
}

/// Index of a child in the order it was added.
pub(super) type Id = usize;

/// What happens to the table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// It serves.
    Ready(Id),
    /// A probe of it failed.
    ProbeFailed(Id),
    /// A probe of it succeeded.
    Answered(Id),
    /// Its process was reaped, or could not be started.
    Ended(Id, Exit),
    /// Somebody wants it restarted.
    Restart(Id),
    /// Stop everything; the second time, kill.
    Stop,
    /// Stop everything and exit with this code: the start cannot succeed.
    Abandon(i32),
    /// A deadline may have passed.
    Tick,
    /// No process is left at all.
    Empty,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Start it.
    Start(Id),
    /// Ask it to stop in its own way; the reason is for `status`.
    Ask(Id, Why),
    /// SIGTERM and SIGCONT to its group; the reason is for the log.
    Terminate(Id, Why),
    /// SIGKILL to its group; this limit has passed, or nobody wants to wait.
    Kill(Id, Option<Duration>),
    /// SIGKILL to what a dead child left in its group, so that its successor finds a clean place.
    KillLeftovers(Id),
    /// Say that it failed and when it is started again.
    Failed(Id, Duration),
    /// Say that it failed this often and is given up, and everything with it.
    GiveUp(Id, u32),
    /// SIGTERM and SIGCONT to every process that is left.
    TerminateRest,
    /// SIGKILL to every process that is left; [`Event::Empty`] is still awaited.
    KillRest,
    /// All over: leave with this code.
    Exit(i32),
}

/// Why a child is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Everything stops.
    Stop,
    /// It was asked and did not end in time.
    AskedTooLong,
    /// A restart was asked for.
    Restart,
    /// It did not become ready in time.
    NeverReady,
    /// This many probes failed in a row.
    Hung(u32),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stop => f.write_str("stopped with everything"),
            Self::AskedTooLong => f.write_str("asked in vain"),
            Self::Restart => f.write_str("restarted on request"),
            Self::NeverReady => f.write_str("not ready in time"),
            Self::Hung(probes) => write!(f, "hung: unanswered probes: {probes}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Children stop, rank by rank.
    Ranks,
    /// What is left of anybody was asked.
    Rest,
    /// Everything was killed.
    Killed,
}

#[derive(Debug)]
struct Stop {
    code: i32,
    stage: Stage,
    deadline: Instant,
}

/// Code of a stop that had to kill: 128 + SIGKILL.
const KILLED: i32 = 137;
/// How long the kernel may take to end what was killed before we leave without it.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(2);

/// All children and the stop, if one is under way.
#[derive(Debug)]
pub(super) struct Table {
    limits: config::Supervisor,
    children: Vec<Child>,
    stop: Option<Stop>,
}

impl Table {
    pub(super) fn new(limits: config::Supervisor) -> Self {
        Self { limits, children: Vec::new(), stop: None }
    }

    /// Adds a child; it starts at once, unless it waits for another or everything is stopping.
    pub(super) fn add(&mut self, name: &'static str, policy: Policy, can_ask: bool, now: Instant) -> (Id, Vec<Action>) {
        let id = self.children.len();
        let state = if self.stop.is_some() { State::Stopped } else { State::Waiting };
        self.children.push(Child::new(name, policy, can_ask, state));
        let mut out = Vec::new();
        self.start_waiting(now, &mut out);
        (id, out)
    }

    pub(super) fn state(&self, id: Id) -> State {
        self.children[id].state
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let children = self.children.iter().filter_map(|c| c.deadline);
        children.chain(self.stop.as_ref().map(|s| s.deadline)).min()
    }

    /// The table itself. `jitter` is a random number in `0.0..1.0`.
    pub(super) fn on(&mut self, event: Event, now: Instant, jitter: f64) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Ready(id) => self.ready(id, now, &mut out),
            Event::ProbeFailed(id) => self.probe_failed(id, now, &mut out),
            Event::Answered(id) => self.children[id].probes = 0,
            Event::Ended(id, exit) => self.ended(id, exit, now, jitter, &mut out),
            Event::Restart(id) => self.restart(id, now, &mut out),
            Event::Stop if self.stop.is_some() => self.kill_all(None, now, &mut out),
            Event::Stop => self.begin_stop(0, now, &mut out),
            Event::Abandon(code) if self.stop.is_none() => self.begin_stop(code, now, &mut out),
            Event::Abandon(_) => {}
            Event::Tick => self.tick(now, &mut out),
            Event::Empty => self.empty(&mut out),
        }
        out
    }

    fn ready(&mut self, id: Id, now: Instant, out: &mut Vec<Action>) {
        let child = &mut self.children[id];
        child.probes = 0;
        if child.state == State::Starting {
            (child.state, child.ready_at, child.deadline) = (State::Ready, Some(now), None);
            self.start_waiting(now, out);
        }
    }

    fn probe_failed(&mut self, id: Id, now: Instant, out: &mut Vec<Action>) {
        let child = &mut self.children[id];
        if child.state != State::Ready || child.policy.probe_limit == 0 {
            return;
        }
        child.probes += 1;
        if child.probes >= child.policy.probe_limit {
            out.push(child.terminate(id, Why::Hung(child.probes), Then::Fail, now));
        }
    }

    fn ended(&mut self, id: Id, exit: Exit, now: Instant, jitter: f64, out: &mut Vec<Action>) {
        let child = &mut self.children[id];
        if !child.state.alive() {
            return;
        }
        let then = if child.state == State::Stopping { child.then } else { Then::Fail };
        child.deadline = None;
        if self.stop.is_some() || then == Then::Stay {
            child.state = State::Stopped;
            return self.advance(now, out);
        }
        out.push(Action::KillLeftovers(id));
        match then {
            Then::Restart => out.push(child.start(id, now)),
            _ => self.fail(id, exit, now, jitter, out),
        }
    }

    /// An end nobody asked for is a failure, whatever its code.
    fn fail(&mut self, id: Id, exit: Exit, now: Instant, jitter: f64, out: &mut Vec<Action>) {
        let child = &mut self.children[id];
        let failures = child.count_failure(now, &self.limits);
        if failures >= self.limits.start_limit {
            child.state = State::GaveUp;
            out.push(Action::GiveUp(id, failures));
            // Giving up is a failure even if the child thought otherwise, so that a restart policy takes over.
            return self.begin_stop(exit.code().max(1), now, out);
        }
        if child.ready_at.is_some() && child.quick == 1 {
            out.push(Action::Failed(id, Duration::ZERO));
            out.push(child.start(id, now));
        } else {
            let delay = backoff::delay(self.limits.backoff_base, self.limits.backoff_cap, child.quick, jitter);
            (child.state, child.deadline) = (State::Backoff, Some(now + delay));
            out.push(Action::Failed(id, delay));
        }
    }

    fn restart(&mut self, id: Id, now: Instant, out: &mut Vec<Action>) {
        let child = &mut self.children[id];
        match child.state {
            State::Starting | State::Ready => out.push(child.halt(id, Why::Restart, Then::Restart, now)),
            State::Backoff => out.push(child.start(id, now)),
            _ => {}
        }
    }

    fn start_waiting(&mut self, now: Instant, out: &mut Vec<Action>) {
        if self.stop.is_some() {
            return;
        }
        for id in 0..self.children.len() {
            let after = self.children[id].policy.after;
            let met = after.is_none_or(|n| self.children.iter().any(|c| c.name == n && c.state == State::Ready));
            if self.children[id].state == State::Waiting && met {
                out.push(self.children[id].start(id, now));
            }
        }
    }

    fn begin_stop(&mut self, code: i32, now: Instant, out: &mut Vec<Action>) {
        self.stop = Some(Stop { code, stage: Stage::Ranks, deadline: now + self.limits.stop_timeout });
        for child in &mut self.children {
            child.then = Then::Stay;
            if matches!(child.state, State::Waiting | State::Backoff) {
                (child.state, child.deadline) = (State::Stopped, None);
            }
        }
        self.advance(now, out);
    }

    /// Tells the lowest rank that lives to end; when no child lives, everything else that does.
    fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        let Some(stop) = self.stop.as_mut().filter(|s| s.stage == Stage::Ranks) else { return };
        let alive = self.children.iter().filter(|c| c.state.alive());
        let Some(rank) = alive.map(|c| c.policy.stop_rank).min() else {
            stop.stage = Stage::Rest;
            return out.push(Action::TerminateRest);
        };
        for (id, child) in self.children.iter_mut().enumerate() {
            if child.policy.stop_rank == rank && matches!(child.state, State::Starting | State::Ready) {
                out.push(child.halt(id, Why::Stop, Then::Stay, now));
            }
        }
    }

    fn kill_all(&mut self, waited: Option<Duration>, now: Instant, out: &mut Vec<Action>) {
        let Some(stop) = &mut self.stop else { return };
        for (id, child) in self.children.iter_mut().enumerate().filter(|(_, c)| c.state.alive()) {
            (child.state, child.step, child.deadline) = (State::Stopping, Step::Killed, None);
            stop.killed();
            out.push(Action::Kill(id, waited));
        }
        (stop.stage, stop.deadline) = (Stage::Killed, now + LAST_WAIT);
        out.push(Action::KillRest);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        for (id, child) in self.children.iter_mut().enumerate() {
            if child.deadline.is_none_or(|at| at > now) {
                continue;
            }
            child.deadline = None;
            match (child.state, child.step) {
                (State::Backoff, _) => out.push(child.start(id, now)),
                (State::Starting, _) => out.push(child.terminate(id, Why::NeverReady, Then::Fail, now)),
                (State::Stopping, Step::Asked) => {
                    out.push(child.terminate(id, Why::AskedTooLong, child.then, now));
                }
                (State::Stopping, Step::Terminated) => {
                    child.step = Step::Killed;
                    self.stop.iter_mut().for_each(Stop::killed);
                    out.push(Action::Kill(id, Some(child.policy.term_limit)));
                }
                _ => {}
            }
        }
        match &self.stop {
            Some(stop) if stop.deadline > now => {}
            Some(Stop { stage: Stage::Killed, code, .. }) => out.push(Action::Exit(*code)),
            Some(_) => self.kill_all(Some(self.limits.stop_timeout), now, out),
            None => {}
        }
    }

    fn empty(&self, out: &mut Vec<Action>) {
        if let Some(stop) = self.stop.as_ref().filter(|s| s.stage != Stage::Ranks) {
            out.push(Action::Exit(stop.code));
        }
    }
}

impl Stop {
    fn killed(&mut self) {
        if self.code == 0 {
            self.code = KILLED;
        }
    }
}

#[cfg(test)]
mod tests;
