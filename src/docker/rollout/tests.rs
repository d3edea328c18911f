//! A row of dependents against an engine that does as told.

use std::cell::RefCell;

use time::macros::datetime;

use super::*;
use crate::{
    docker::{Listed, Wish},
    rotation::Change,
};

const OLD: OffsetDateTime = datetime!(2026-11-24 11:00 UTC);
const PUBLISHED: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const NOW: OffsetDateTime = datetime!(2026-11-24 12:01 UTC);

/// Containers by name, and what was done to them.
#[derive(Default)]
struct Fake {
    containers: RefCell<BTreeMap<String, Seen>>,
    done: RefCell<Vec<String>>,
    /// Looks until a restarted one is healthy; `None` = it never is.
    recovers_after: Option<usize>,
    looks: RefCell<usize>,
    refuses: Option<Refusal>,
}

fn seen() -> Seen {
    Seen {
        started: Some(OLD),
        running: true,
        health: Health::Healthy,
        restart_policy: "always".to_owned(),
        stop_signal: "SIGINT".to_owned(),
    }
}

impl Fake {
    fn with(names: &[&str]) -> Self {
        let containers = names.iter().map(|name| ((*name).to_owned(), seen())).collect();
        Self { containers: RefCell::new(containers), recovers_after: Some(2), ..Self::default() }
    }

    fn note(&self, what: String) -> Result<(), Refusal> {
        self.done.borrow_mut().push(what);
        self.refuses.clone().map_or(Ok(()), Err)
    }

    fn change(&self, name: &str, change: impl Fn(&mut Seen)) {
        change(self.containers.borrow_mut().get_mut(name).unwrap());
    }
}

impl Engine for Fake {
    async fn list(&self) -> Result<Vec<Listed>, Refusal> {
        Ok(Vec::new())
    }

    async fn inspect(&self, name: &str) -> Result<Seen, Refusal> {
        let mut seen = self.containers.borrow()[name].clone();
        if seen.health == Health::Starting {
            *self.looks.borrow_mut() += 1;
            if self.recovers_after.is_some_and(|looks| *self.looks.borrow() >= looks) {
                *self.looks.borrow_mut() = 0;
                seen.health = Health::Healthy;
                self.change(name, |seen| seen.health = Health::Healthy);
            }
        }
        Ok(seen)
    }

    async fn restart(&self, name: &str) -> Result<(), Refusal> {
        self.note(format!("restart {name}"))?;
        self.change(name, |seen| (seen.started, seen.health) = (Some(NOW), Health::Starting));
        Ok(())
    }

    async fn signal(&self, name: &str, signal: &str) -> Result<(), Refusal> {
        self.note(format!("{signal} {name}"))
    }

    async fn exec(&self, name: &str, command: &str) -> Result<(), Refusal> {
        self.note(format!("exec {name} {command}"))
    }
}

fn target(name: &str, action: Action) -> Target {
    let wish = Wish { action, changes: Change::ALL.to_vec(), order: 50 };
    Target { name: name.to_owned(), wish, since: PUBLISHED }
}

fn row(targets: Vec<Target>) -> Plan {
    Plan { targets, ..Plan::default() }
}

fn told(engine: &Fake, plan: &Plan, acted: &mut Acted) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(roll(engine, plan, acted, Duration::from_millis(1200), &|| NOW, &mut |_| ()))
}

#[test]
fn each_is_told_in_order_and_only_once() {
    let engine = Fake::with(&["db", "app", "proxy"]);
    let hup = Action::Signal(Signal::SIGHUP);
    let exec = Action::Exec("reload".to_owned());
    let plan = row(vec![target("db", hup), target("app", Action::Restart), target("proxy", exec)]);
    let mut acted = Acted::new();
    told(&engine, &plan, &mut acted).unwrap();
    let all = ["SIGHUP db", "restart app", "exec proxy reload"];
    assert_eq!(*engine.done.borrow(), all);
    told(&engine, &plan, &mut acted).unwrap();
    assert_eq!(*engine.done.borrow(), all, "nobody is told twice of one publication");
    // After a crash of ours what was done is not remembered: a restart shows in the start time, a signal does not.
    told(&engine, &plan, &mut Acted::new()).unwrap();
    assert_eq!(engine.done.borrow()[3..], ["SIGHUP db", "exec proxy reload"]);
}

#[test]
fn one_that_does_not_get_well_ends_the_row_and_is_not_restarted_again() {
    let mut engine = Fake::with(&["a", "b"]);
    engine.recovers_after = None;
    let plan = row(vec![target("a", Action::Restart), target("b", Action::Restart)]);
    let mut acted = Acted::new();
    let failure = told(&engine, &plan, &mut acted).unwrap_err();
    assert_eq!(failure.name, "a");
    assert!(failure.why.contains("is not healthy yet after"), "{failure}");
    assert_eq!(*engine.done.borrow(), ["restart a"]);
    // The next try: `a` has the new material and is left alone, but `b` waits until it is well.
    assert_eq!(told(&engine, &plan, &mut acted).unwrap_err().name, "a");
    assert_eq!(*engine.done.borrow(), ["restart a"]);
    engine.change("a", |seen| seen.health = Health::Healthy);
    engine.recovers_after = Some(1);
    told(&engine, &plan, &mut acted).unwrap();
    assert_eq!(*engine.done.borrow(), ["restart a", "restart b"]);
}

#[test]
fn one_that_is_forbidden_or_has_ended_is_named_with_the_reason() {
    let mut engine = Fake::with(&["a"]);
    engine.refuses = Some(Refusal::Forbidden { what: "restarting a".to_owned() });
    let plan = row(vec![target("a", Action::Restart)]);
    let failure = told(&engine, &plan, &mut Acted::new()).unwrap_err().to_string();
    assert!(failure.contains("restarting a is forbidden"), "{failure}");
    let engine = Fake::with(&["a"]);
    engine.change("a", |seen| seen.running = false);
    let plan = row(vec![target("a", Action::Signal(Signal::SIGHUP))]);
    assert!(told(&engine, &plan, &mut Acted::new()).unwrap_err().why.contains("does not run"));
}

#[test]
fn a_signal_that_could_cost_the_restart_policy_is_warned_of() {
    let hup = |_| target("db", Action::Signal(Signal::SIGHUP));
    assert_eq!(advice(&hup(()), &seen()), None);
    let unless_stopped = Seen { restart_policy: "unless-stopped".to_owned(), ..seen() };
    let same = Seen { stop_signal: "SIGHUP".to_owned(), ..seen() };
    for seen in [unless_stopped, same] {
        assert!(advice(&hup(()), &seen).unwrap().contains("moby#41302"));
    }
    assert_eq!(advice(&target("app", Action::Restart), &Seen { restart_policy: String::new(), ..seen() }), None);
}
