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
    /// Looking is forbidden.
    blind: bool,
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
        if self.blind {
            return Err(Refusal::Forbidden { what: format!("inspecting {name}") });
        }
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
    Target { name: name.to_owned(), service: None, wish, since: PUBLISHED }
}

fn row(targets: Vec<Target>) -> Plan {
    Plan { targets, ..Plan::default() }
}

fn told(engine: &Fake, plan: &Plan, acted: &mut Acted) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let terms = Terms { limit: Duration::from_millis(1200), now: &|| NOW, held: &|_| Box::pin(async { None }) };
    runtime.block_on(roll(engine, plan, acted, &terms, &mut |_, _| ()))
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

/// Tells the plan where looking at a target gives these proofs, one after the other.
fn proven_told(engine: &Fake, plan: &Plan, proofs: &[Proof]) -> (Result<(), Failure>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (left, mut said) = (RefCell::new(proofs.to_vec()), Vec::new());
    let next = |_: &Target| -> LocalBoxFuture<'static, Proof> {
        let mut left = left.borrow_mut();
        let proof = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
        Box::pin(async move { proof })
    };
    let terms = Terms { limit: Duration::from_secs(3), now: &|| NOW, held: &next };
    let ended = runtime.block_on(roll(engine, plan, &mut Acted::new(), &terms, &mut |line, _| said.push(line)));
    (ended, said)
}

#[test]
fn one_that_was_told_and_still_serves_the_old_certificate_ends_the_row() {
    let old = || Some(Err("it still serves serial 1".to_owned()));
    let plan = row(vec![target("db", Action::Signal(Signal::SIGHUP)), target("app", Action::Restart)]);
    let engine = Fake::with(&["db", "app"]);
    let failure = proven_told(&engine, &plan, &[old()]).0.unwrap_err();
    assert!(
        failure.name == "db" && failure.why.contains("it was told (signal SIGHUP), but it still serves"),
        "{failure}"
    );
    assert_eq!(*engine.done.borrow(), ["SIGHUP db"]);
    // A process that takes a moment to load it is waited for.
    let engine = Fake::with(&["db", "app"]);
    let (ended, said) = proven_told(&engine, &plan, &[old(), old(), old(), Some(Ok(())), None]);
    ended.unwrap();
    assert!(said[0].ends_with("serves the current certificate") && said[1].ends_with("it is well"), "{said:?}");
}

#[test]
fn by_name_alone_each_is_told_once_and_said_to_be_unknown() {
    let mut engine = Fake::with(&["app"]);
    engine.blind = true;
    let plan = Plan { by_name: true, ..row(vec![target("app", Action::Restart)]) };
    let mut acted = Acted::new();
    told(&engine, &plan, &mut acted).unwrap();
    told(&engine, &plan, &mut acted).unwrap();
    assert_eq!(*engine.done.borrow(), ["restart app"]);
    let (_, said) = proven_told(&engine, &plan, &[None]);
    assert!(said[0].contains("looking at it is forbidden"), "{said:?}");
    // Where labels are read, a target that may not be looked at stops the row.
    assert!(told(&engine, &row(plan.targets), &mut Acted::new()).unwrap_err().why.contains("forbidden"));
}
