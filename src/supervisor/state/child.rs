//! One child's row of the table: how it starts, ends, and how its failures are counted.

use std::{collections::VecDeque, time::Instant};

use super::{Action, Id, State, Why};
use crate::{config, supervisor::spec::Policy};

/// Failures in a row after which a child gets twice the time to become ready.
const TRIES: u32 = 3;
/// How often that is doubled.
const MOST_DOUBLED: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stay,
    Restart,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Asked,
    Terminated,
    Killed,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    pub(super) policy: Policy,
    pub(super) can_ask: bool,
    pub(super) state: State,
    pub(super) then: Then,
    pub(super) step: Step,
    pub(super) ready_at: Option<Instant>,
    pub(super) probes: u32,
    /// Failures within the start window.
    pub(super) failures: VecDeque<Instant>,
    /// Failures since it was last healthy for as long as the longest back-off.
    pub(super) quick: u32,
    pub(super) deadline: Option<Instant>,
}

impl Child {
    pub(super) fn new(name: &'static str, policy: Policy, can_ask: bool, state: State) -> Self {
        Self {
            name,
            policy,
            can_ask,
            state,
            then: Then::Stay,
            step: Step::Asked,
            ready_at: None,
            probes: 0,
            failures: VecDeque::new(),
            quick: 0,
            deadline: None,
        }
    }

    /// With more time after every third failure in a row: a machine that is too slow for the limit gets there as well.
    pub(super) fn start(&mut self, id: Id, now: Instant) -> Action {
        (self.state, self.ready_at, self.probes) = (State::Starting, None, 0);
        let longer = 1 << (self.quick / TRIES).min(MOST_DOUBLED);
        self.deadline = self.policy.start_limit.and_then(|limit| now.checked_add(limit.saturating_mul(longer)));
        Action::Start(id)
    }

    /// Ends it the gentle way.
    pub(super) fn halt(&mut self, id: Id, why: Why, then: Then, now: Instant) -> Action {
        if !self.can_ask || self.policy.ask_limit.is_zero() {
            return self.terminate(id, why, then, now);
        }
        (self.state, self.step, self.then) = (State::Stopping, Step::Asked, then);
        self.deadline = Some(now + self.policy.ask_limit);
        Action::Ask(id, why)
    }

    pub(super) fn terminate(&mut self, id: Id, why: Why, then: Then, now: Instant) -> Action {
        (self.state, self.step, self.then) = (State::Stopping, Step::Terminated, then);
        self.deadline = Some(now + self.policy.term_limit);
        Action::Terminate(id, why)
    }

    /// Counts within the window, and resets the back-off of a child that had been healthy long enough: as long as
    /// the longest delay, so that no crash loop can reset it.
    pub(super) fn count_failure(&mut self, now: Instant, limits: &config::Supervisor) -> u32 {
        if self.ready_at.is_some_and(|at| now.duration_since(at) >= limits.backoff_cap) {
            self.quick = 0;
        }
        self.quick = self.quick.saturating_add(1);
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > limits.start_window) {
            self.failures.pop_front();
        }
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }
}
