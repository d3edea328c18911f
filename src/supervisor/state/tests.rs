use proptest::prelude::*;

use super::*;

const GATEWAY: Id = 0;
const ENGINE: Id = 1;
const SECOND: Duration = Duration::from_secs(1);

fn limits() -> config::Supervisor {
    config::Supervisor {
        start_limit: 5,
        start_window: 60 * SECOND,
        stop_timeout: 30 * SECOND,
        backoff_base: SECOND / 10,
        backoff_cap: 5 * SECOND,
        probe_limit: 3,
    }
}

/// A gateway that can be asked and stops first, an engine, both started at `now`.
fn table(now: Instant) -> Table {
    let mut table = Table::new(limits());
    let gateway = Policy { stop_rank: 0, ask_limit: 5 * SECOND, term_limit: SECOND, ..Policy::default() };
    let engine = Policy {
        stop_rank: 1,
        term_limit: 10 * SECOND,
        start_limit: Some(20 * SECOND),
        probe_limit: 3,
        ..Policy::default()
    };
    assert_eq!(table.add("gateway", gateway, true, now), (GATEWAY, vec![Action::Start(GATEWAY)]));
    assert_eq!(table.add("engine", engine, false, now), (ENGINE, vec![Action::Start(ENGINE)]));
    table
}

fn crash(table: &mut Table, id: Id, now: Instant) -> Vec<Action> {
    table.on(Event::Ended(id, Exit::Code(1)), now, 0.0)
}

#[test]
fn a_child_that_was_ready_is_back_at_once_and_then_backs_off() {
    let now = Instant::now();
    let mut table = table(now);
    table.on(Event::Ready(ENGINE), now, 0.0);
    let first = crash(&mut table, ENGINE, now);
    assert_eq!(first, [Action::KillLeftovers(ENGINE), Action::Failed(ENGINE, Duration::ZERO), Action::Start(ENGINE)]);
    table.on(Event::Ready(ENGINE), now, 0.0);
    let second = crash(&mut table, ENGINE, now);
    assert_eq!(second, [Action::KillLeftovers(ENGINE), Action::Failed(ENGINE, SECOND / 5)]);
    assert_eq!(table.on(Event::Tick, now + SECOND / 5, 0.0), [Action::Start(ENGINE)]);
}

#[test]
fn health_as_long_as_the_longest_delay_resets_the_back_off() {
    let mut now = Instant::now();
    let mut table = table(now);
    crash(&mut table, ENGINE, now);
    now += SECOND;
    table.on(Event::Tick, now, 0.0);
    table.on(Event::Ready(ENGINE), now, 0.0);
    now += 5 * SECOND;
    assert_eq!(crash(&mut table, ENGINE, now).last(), Some(&Action::Start(ENGINE)));
}

#[test]
fn exit_code_0_is_a_failure_when_nobody_asked_for_it() {
    let now = Instant::now();
    let mut table = table(now);
    let actions = table.on(Event::Ended(ENGINE, Exit::Code(0)), now, 0.0);
    assert_eq!(actions.last(), Some(&Action::Failed(ENGINE, SECOND / 10)));
}

#[test]
fn the_start_limit_stops_everything_with_the_childs_code() {
    let mut now = Instant::now();
    let mut table = table(now);
    for _ in 0..4 {
        table.on(Event::Ended(ENGINE, Exit::Signal(11)), now, 0.0);
        now += 6 * SECOND;
        table.on(Event::Tick, now, 0.0);
    }
    let actions = table.on(Event::Ended(ENGINE, Exit::Signal(11)), now, 0.0);
    assert_eq!(actions, [Action::KillLeftovers(ENGINE), Action::GiveUp(ENGINE, 5), Action::Ask(GATEWAY, Why::Stop)]);
    assert_eq!(table.state(ENGINE), State::GaveUp);
    assert_eq!(table.on(Event::Ended(GATEWAY, Exit::Code(0)), now, 0.0), [Action::TerminateRest]);
    assert_eq!(table.on(Event::Empty, now, 0.0), [Action::Exit(139)]);
}

#[test]
fn failures_outside_the_window_are_forgotten() {
    let mut now = Instant::now();
    let mut table = table(now);
    for _ in 0..20 {
        assert!(!crash(&mut table, ENGINE, now).contains(&Action::GiveUp(ENGINE, 5)));
        now += 16 * SECOND;
        table.on(Event::Tick, now, 0.0);
    }
}

#[test]
fn a_clean_stop_drains_the_gateway_then_ends_the_engine_then_the_rest_with_code_0() {
    let now = Instant::now();
    let mut table = table(now);
    assert_eq!(table.on(Event::Stop, now, 0.0), [Action::Ask(GATEWAY, Why::Stop)]);
    let next = table.on(Event::Ended(GATEWAY, Exit::Code(0)), now, 0.0);
    assert_eq!(next, [Action::Terminate(ENGINE, Why::Stop)]);
    assert_eq!(table.on(Event::Ended(ENGINE, Exit::Signal(15)), now, 0.0), [Action::TerminateRest]);
    assert_eq!(table.on(Event::Empty, now, 0.0), [Action::Exit(0)]);
}

#[test]
fn a_deaf_child_is_asked_then_terminated_then_killed_and_the_code_tells() {
    let now = Instant::now();
    let mut table = table(now);
    table.on(Event::Stop, now, 0.0);
    assert_eq!(table.on(Event::Tick, now + 5 * SECOND, 0.0), [Action::Terminate(GATEWAY, Why::AskedTooLong)]);
    assert_eq!(table.on(Event::Tick, now + 6 * SECOND, 0.0), [Action::Kill(GATEWAY, Some(SECOND))]);
    table.on(Event::Ended(GATEWAY, Exit::Signal(9)), now, 0.0);
    table.on(Event::Ended(ENGINE, Exit::Code(0)), now, 0.0);
    assert_eq!(table.on(Event::Empty, now, 0.0), [Action::Exit(137)]);
}

#[test]
fn a_second_stop_kills_every_child_and_the_rest() {
    let now = Instant::now();
    let mut table = table(now);
    table.on(Event::Stop, now, 0.0);
    let again = table.on(Event::Stop, now, 0.0);
    assert_eq!(again, [Action::Kill(GATEWAY, None), Action::Kill(ENGINE, None), Action::KillRest]);
}

#[test]
fn a_hung_child_is_restarted_as_a_failure_and_one_good_probe_forgives() {
    let now = Instant::now();
    let mut table = table(now);
    table.on(Event::Ready(ENGINE), now, 0.0);
    for event in [Event::ProbeFailed(ENGINE), Event::ProbeFailed(ENGINE), Event::Ready(ENGINE)] {
        assert_eq!(table.on(event, now, 0.0), []);
    }
    table.on(Event::ProbeFailed(ENGINE), now, 0.0);
    table.on(Event::ProbeFailed(ENGINE), now, 0.0);
    assert_eq!(table.on(Event::ProbeFailed(ENGINE), now, 0.0), [Action::Terminate(ENGINE, Why::Hung(3))]);
    assert_eq!(crash(&mut table, ENGINE, now).last(), Some(&Action::Start(ENGINE)));
}

#[test]
fn a_child_that_never_becomes_ready_is_restarted_after_its_limit() {
    let now = Instant::now();
    let mut table = table(now);
    assert_eq!(table.next_deadline(), Some(now + 20 * SECOND));
    assert_eq!(table.on(Event::Tick, now + 20 * SECOND, 0.0), [Action::Terminate(ENGINE, Why::NeverReady)]);
}

#[test]
fn a_child_that_is_never_ready_in_time_gets_more_of_it_after_every_third_failure() {
    let mut now = Instant::now();
    let mut table = table(now);
    let mut given = Vec::new();
    for _ in 0..7 {
        let deadline = table.next_deadline().unwrap();
        given.push((deadline - now).as_secs());
        assert_eq!(table.on(Event::Tick, deadline, 0.0), [Action::Terminate(ENGINE, Why::NeverReady)]);
        // Further apart than the start window, so that they are never too many.
        now = deadline + 60 * SECOND;
        table.on(Event::Ended(ENGINE, Exit::Signal(15)), now, 0.0);
        now = table.next_deadline().unwrap();
        assert_eq!(table.on(Event::Tick, now, 0.0), [Action::Start(ENGINE)]);
    }
    assert_eq!(given, [20, 20, 20, 40, 40, 40, 80]);
}

#[test]
fn ten_restart_requests_leave_one_instance_and_count_no_failure() {
    let now = Instant::now();
    let mut table = table(now);
    let asked: Vec<_> = (0..10).flat_map(|_| table.on(Event::Restart(ENGINE), now, 0.0)).collect();
    assert_eq!(asked, [Action::Terminate(ENGINE, Why::Restart)]);
    let back = table.on(Event::Ended(ENGINE, Exit::Signal(15)), now, 0.0);
    assert_eq!(back, [Action::KillLeftovers(ENGINE), Action::Start(ENGINE)]);
    assert!(table.children[ENGINE].failures.is_empty());
}

#[test]
fn a_follower_starts_when_the_other_is_ready() {
    let now = Instant::now();
    let mut table = table(now);
    let (id, actions) = table.add("worker", Policy { after: Some("engine"), ..Policy::default() }, false, now);
    assert_eq!((table.state(id), actions), (State::Waiting, vec![]));
    assert_eq!(table.on(Event::Ready(ENGINE), now, 0.0), [Action::Start(id)]);
}

/// A world of two processes that obey SIGKILL and, if they are `polite`, everything else.
struct World {
    table: Table,
    now: Instant,
    polite: bool,
    alive: [bool; 2],
    ready: [bool; 2],
    dying: Vec<Id>,
    at_once: [Option<Instant>; 2],
    /// A stop that is a failure has begun.
    abandoned: bool,
    exit: Option<i32>,
}

impl World {
    fn new(polite: bool) -> Self {
        let now = Instant::now();
        let (alive, ready) = ([true; 2], [false; 2]);
        Self {
            table: table(now),
            now,
            polite,
            alive,
            ready,
            dying: Vec::new(),
            at_once: [None; 2],
            abandoned: false,
            exit: None,
        }
    }

    fn on(&mut self, event: Event) {
        let failed = matches!(event, Event::Ended(..));
        self.abandoned |= matches!(event, Event::Abandon(_)) && !self.table.stopping();
        let actions = self.table.on(event, self.now, 0.5);
        let unasked = actions.iter().any(|a| matches!(a, Action::Failed(..)));
        for action in actions {
            match action {
                Action::Start(id) => {
                    assert!(!self.alive[id], "two instances");
                    assert!(!self.table.stopping(), "started during a stop");
                    if failed && unasked {
                        self.restarted_at_once(id);
                    }
                    (self.alive[id], self.ready[id]) = (true, false);
                }
                Action::Ask(id, _) | Action::Terminate(id, _) if self.polite => self.dying.push(id),
                Action::Kill(id, _) => self.dying.push(id),
                Action::GiveUp(..) => self.abandoned = true,
                Action::Exit(code) => self.exit = Some(code),
                _ => {}
            }
        }
        self.agrees();
    }

    /// The table and the processes tell the same story, and whatever is to come has its time.
    fn agrees(&self) {
        for id in [GATEWAY, ENGINE] {
            let state = self.table.state(id);
            assert_eq!(state.alive(), self.alive[id], "{state:?}");
            // After SIGKILL it is the kernel's turn.
            let told = state == State::Stopping && self.table.children[id].step != Step::Killed;
            let waits = told || state == State::Backoff || (self.table.stopping() && self.exit.is_none());
            assert!(!waits || self.table.next_deadline().is_some(), "{state:?} for ever");
        }
        assert!(!(self.abandoned && self.exit == Some(0)), "a start that failed looks like a clean stop");
    }

    /// No loop without back-off: two restarts without delay are at least a longest delay of health apart.
    fn restarted_at_once(&mut self, id: Id) {
        assert!(self.ready[id], "restarted at once though it never was ready");
        if let Some(before) = self.at_once[id].replace(self.now) {
            assert!(self.now - before >= limits().backoff_cap, "a restart loop without back-off");
        }
    }

    fn end(&mut self, id: Id) {
        if std::mem::take(&mut self.alive[id]) {
            self.on(Event::Ended(id, Exit::Code(1)));
        }
    }

    fn bury(&mut self) {
        for id in std::mem::take(&mut self.dying) {
            self.end(id);
        }
        if self.alive == [false; 2] {
            self.on(Event::Empty);
        }
    }

    fn happen(&mut self, what: u8, id: Id, millis: u64) {
        match what {
            0..=2 => self.end(id),
            3..=5 if self.alive[id] => {
                self.ready[id] |= self.table.state(id) == State::Starting;
                self.on(Event::Ready(id));
            }
            6 => self.on(Event::ProbeFailed(id)),
            10 => self.on(Event::Answered(id)),
            11 if millis.is_multiple_of(16) => self.on(Event::Abandon(3)),
            7 => self.on(Event::Restart(id)),
            8 => self.bury(),
            9 if millis.is_multiple_of(8) => self.on(Event::Stop),
            _ => {
                // While time passes, what was killed ends.
                self.bury();
                self.now += Duration::from_millis(millis);
                self.on(Event::Tick);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_sequence_of_events_leaves_a_child_unwaited_a_stop_unanswered_or_a_loop_without_back_off(
        polite: bool,
        events in proptest::collection::vec((0_u8..16, 0_usize..2, 0_u64..8000), 0..120),
    ) {
        let mut world = World::new(polite);
        for (what, id, millis) in events {
            if world.exit.is_none() {
                world.happen(what, id, millis);
            }
        }
        if world.exit.is_none() && !world.table.stopping() {
            world.on(Event::Stop);
        }
        let begun = world.now;
        while world.exit.is_none() {
            world.bury();
            if world.exit.is_none() {
                world.now = world.table.next_deadline().expect("a stop always has a deadline").max(world.now);
                world.on(Event::Tick);
            }
        }
        prop_assert_eq!(world.alive, [false; 2], "left with a child unwaited");
        prop_assert!(world.now - begun <= limits().stop_timeout + LAST_WAIT);
    }
}
