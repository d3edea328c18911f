//! Whether the generation in force is proven, and what becomes of one that fails: the last healthy one is put back in its
//! place, as loudly as can be.
//!
//! Proven is what the gateway serves with while all is SERVING. One that the gateway refuses, or with which a process is
//! started again and again, has failed, unless it was proven before: then something else is the cause.

use std::rc::Rc;

use tracing::{error, warn};

use super::{GATEWAY, TEMPORAL, Warden, desk};
use crate::{
    admin::Server,
    audit::{Act, By},
    clock,
    gateway::parent::Answer,
    rotation,
    supervisor::{ChildStatus, State},
};

/// What is known of the generation in force.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet.
    Open,
    /// Everything is healthy with it.
    Proven,
    /// It keeps something from becoming healthy, and why.
    Failed(String),
}

/// What a verdict is made of.
struct Sight<'a> {
    /// The gateway's word on the material in force, if it said one.
    answer: Option<&'a Answer>,
    serving: bool,
    children: &'a [ChildStatus],
    /// Starts of each child when the generation came into force.
    before: &'a [(&'static str, u32)],
    /// Starts in vain after which it is taken for the cause.
    tries: u32,
}

fn verdict(sight: &Sight<'_>) -> Verdict {
    match sight.answer {
        Some(Answer::Refused(_, why)) => return Verdict::Failed(format!("the gateway refuses it: {why}")),
        Some(Answer::Switched(_)) if sight.serving => return Verdict::Proven,
        _ => {}
    }
    for child in sight.children.iter().filter(|child| [GATEWAY, TEMPORAL].contains(&child.name)) {
        let before = sight.before.iter().find(|(name, _)| *name == child.name).map_or(0, |(_, starts)| *starts);
        let vain = child.vain_starts(before);
        if vain >= sight.tries && child.state != State::Ready {
            let last = child.last_exit.as_deref().unwrap_or("no exit");
            let why = format!("{} was started {vain} times with it and never healthy (last exit: {last})", child.name);
            return Verdict::Failed(why);
        }
    }
    Verdict::Open
}

/// Watches each generation until it is proven or has failed.
pub(super) async fn watch(warden: Rc<Warden>) {
    let mut children = warden.supervisor.watch();
    let mut health = warden.parent.health();
    let mut answers = warden.parent.answers();
    // The generation that is judged, the starts before it, and whether that is over.
    let (mut judged, mut before, mut over) = (None, Vec::new(), false);
    loop {
        let (generation, all) = (warden.live.borrow().generation, children.borrow_and_update().clone());
        if judged != Some(generation) {
            // Whoever runs when PID 1 begins was started with it.
            let first = judged.is_none();
            before = all.iter().filter(|_| !first).map(|child| (child.name, child.starts())).collect();
            (judged, over) = (Some(generation), false);
        }
        let serving = health.borrow_and_update().serving;
        answers.mark_unchanged();
        let answer = warden.parent.answered();
        let tries = warden.config().supervisor.tries();
        let sight = Sight { answer: answer.as_ref(), serving, children: &all, before: &before, tries };
        match verdict(&sight) {
            Verdict::Proven if !over => over = prove(&warden, generation).await,
            // What a reload restarted is the reload's to judge.
            Verdict::Failed(why) if !over && !warden.reloads.settling() => {
                over = failed(&warden, generation, &why).await
            }
            _ => {}
        }
        tokio::select! {
            Ok(()) = children.changed() => {}
            Ok(()) = health.changed() => {}
            Ok(()) = answers.changed() => {}
            else => return,
        }
    }
}

/// Writes down that everything is healthy with it.
async fn prove(warden: &Warden, generation: u64) -> bool {
    warden.stays.replace(None);
    let config = (*warden.config()).clone();
    let work = tokio::task::spawn_blocking(move || rotation::note_healthy(&config, generation));
    let noted = work.await.map_err(|why| why.to_string()).and_then(|noted| noted.map_err(|why| why.to_string()));
    if let Err(why) = noted {
        warn!("that generation {generation} is healthy is not written down: {why}");
    }
    true
}

/// Whether something was done about it: not when another took its place before its turn came.
async fn failed(warden: &Warden, generation: u64, why: &str) -> bool {
    let _one_at_a_time = warden.making.lock().await;
    if warden.live.borrow().generation != generation || warden.was_healthy(generation) {
        return warden.live.borrow().generation == generation;
    }
    fall_back(warden, generation, why, &mut None).await;
    true
}

/// Puts the last healthy generation in the place of this one; says what came of it. With [`Warden::making`] held.
pub(super) async fn fall_back(warden: &Warden, generation: u64, why: &str, asker: &mut Option<&mut Server>) -> String {
    let reason = why.to_owned();
    let change =
        move |config: &_, say: &mut dyn FnMut(_)| rotation::put_back(config, clock::now(), generation, &reason, say);
    // Said before the gateway has it: one that fails all the same may be the end of PID 1.
    let loudly = |said: &str| {
        error!("{said}");
        warden.audit.journal.failed(Act::RollBack, By::Itself, said);
    };
    match desk::apply(warden, change, asker).await {
        Ok(live) => {
            let said = live.put_back.as_ref().map(words).unwrap_or_default();
            loudly(&said);
            warden.live.replace(live);
            warden.changed.send_replace(warden.live.borrow().generation);
            match desk::in_force(warden, By::Itself).await {
                Ok(then) | Err(then) => format!("{said}; {then}"),
            }
        }
        Err(stays) => {
            let said = format!("NOT ROLLED BACK: {stays}. It fails because {why}");
            loudly(&said);
            warden.stays.replace(Some(said.clone()));
            said
        }
    }
}

/// As the log, the audit log and `status` say it.
pub(super) fn words(note: &rotation::PutBack) -> String {
    format!(
        "ROLLED BACK: generation {} is not in force: {}. Generation {} has the files of {}, the last that was healthy; \
         what was retired or revoked since stays so. Mend the cause, then make the change again",
        note.refused, note.why, note.generation, note.healthy
    )
}

impl Warden {
    /// Whether everything was healthy with this one before: then it is not the cause.
    fn was_healthy(&self, generation: u64) -> bool {
        rotation::healthy_generation(&self.config()).ok().flatten() == Some(generation)
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn child(name: &'static str, state: State, restarts: u32) -> ChildStatus {
        let since = OffsetDateTime::UNIX_EPOCH;
        ChildStatus { name, state, pid: None, restarts, since, last_exit: Some("exit code 1".to_owned()) }
    }

    #[test]
    fn a_generation_is_proven_by_service_and_fails_by_a_refusal_or_by_starts_without_health() {
        let on = |answer: Option<&Answer>, serving, children: &[ChildStatus]| {
            verdict(&Sight { answer, serving, children, before: &[(TEMPORAL, 5)], tries: 3 })
        };
        let (switched, refused) = (Answer::Switched(3), Answer::Refused(3, "no key".to_owned()));
        assert_eq!(on(Some(&switched), true, &[]), Verdict::Proven);
        assert_eq!(on(Some(&switched), false, &[]), Verdict::Open, "the database may be away");
        assert_eq!(on(None, true, &[]), Verdict::Open, "it still serves with the one before");
        assert_eq!(on(Some(&refused), true, &[]), Verdict::Failed("the gateway refuses it: no key".to_owned()));
        let tried = |restarts, state| on(Some(&switched), false, &[child(TEMPORAL, state, restarts)]);
        assert_eq!(tried(6, State::Backoff), Verdict::Open, "those before it do not count");
        assert_eq!(tried(7, State::Starting), Verdict::Open, "the third may still succeed");
        assert_eq!(tried(8, State::Ready), Verdict::Open);
        assert!(matches!(tried(7, State::Backoff), Verdict::Failed(why) if why.contains("started 3 times")));
        assert_eq!(on(None, false, &[child("schema", State::Backoff, 9)]), Verdict::Open, "not one of the two");
    }
}
