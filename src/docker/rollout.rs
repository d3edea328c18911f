//! Telling dependents: one after the other, the next only when the one before is well again.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::LocalBoxFuture;
use nix::sys::signal::Signal;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::{
    engine::{Engine, Health, Refusal, Seen},
    plan::{Plan, Target},
};
use crate::config::Action;

/// Between two looks at a container that is coming back.
const LOOK: Duration = Duration::from_millis(500);

/// How long a process that was told may take to load its new certificate.
const PROOF: Duration = Duration::from_secs(15);

/// When each dependent was last told something that leaves no trace in its start time.
pub type Acted = BTreeMap<String, OffsetDateTime>;

/// Whether a target has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// It holds older material.
    Due,
    /// It started, or was told, after the publication.
    Done,
}

/// The dependent at which the row stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// What went wrong.
    pub why: String,
}

/// What is known of the material a target holds, by looking at it from outside: `None` where that can't be done.
pub type Proof = Option<Result<(), String>>;

/// How a row is told.
pub struct Terms<'a> {
    /// How long each may take to be well again.
    pub limit: Duration,
    /// The time.
    pub now: &'a dyn Fn() -> OffsetDateTime,
    /// Looks whether a target holds the current material.
    pub held: &'a dyn Fn(&Target) -> LocalBoxFuture<'static, Proof>,
}

/// Whether `target` has to be told. A container that started after the publication read the new files, whoever
/// started it: that makes a second try, and a crash of ours between two dependents, harmless.
pub fn need(target: &Target, seen: Option<&Seen>, acted: &Acted) -> Need {
    let told = acted.get(&target.name).is_some_and(|at| *at >= target.since);
    let fresh = seen.and_then(|seen| seen.started).is_some_and(|at| at >= target.since);
    if told || fresh { Need::Done } else { Need::Due }
}

/// What should be changed about a container so that telling it can't hurt it: one that is signalled through the API
/// loses its restart policy on its next crash (moby#41302), unless the policy is `always` and its stop signal another.
pub fn advice(target: &Target, seen: &Seen) -> Option<String> {
    let Action::Signal(signal) = target.wish.action else { return None };
    let stop = if seen.stop_signal.is_empty() { "SIGTERM" } else { &seen.stop_signal };
    let same = stop == signal.as_str() || stop.parse().is_ok_and(|s: Signal| s == signal);
    if seen.restart_policy == "always" && !same {
        return None;
    }
    Some(format!(
        "{} is told by {signal} and may then not be restarted after a crash (moby#41302): give it `restart: always` and a `stop_signal` other than {signal}",
        target.name
    ))
}

/// Tells everyone who has to be told. The first failure ends the row: what broke one must not be done to the rest.
pub async fn roll(
    engine: &impl Engine,
    plan: &Plan,
    acted: &mut Acted,
    terms: &Terms<'_>,
    say: &mut dyn FnMut(String, &Acted),
) -> Result<(), Failure> {
    for target in &plan.targets {
        let told = tell(engine, plan, target, acted, terms).await;
        match told.map_err(|why| Failure { name: target.name.clone(), why })? {
            Some(well) => say(format!("{}: {} done, and {well}", target.name, target.wish.action), acted),
            None => continue,
        }
    }
    Ok(())
}

/// Tells one, if it has to be; in words how it is known to be well.
async fn tell(
    engine: &impl Engine,
    plan: &Plan,
    target: &Target,
    acted: &mut Acted,
    terms: &Terms<'_>,
) -> Result<Option<&'static str>, String> {
    let seen = look(engine, plan, &target.name).await?;
    if need(target, seen.as_ref(), acted) == Need::Done {
        // Told before, perhaps without getting well: those after it wait all the same.
        return well_again(engine, plan, &target.name, None, terms.limit).await.map(|()| None);
    }
    let began = (terms.now)();
    act(engine, target).await.map_err(|e| e.to_string())?;
    if seen.is_none() {
        acted.insert(target.name.clone(), began);
        return Ok(Some("nothing more can be known of it: looking at it is forbidden"));
    }
    let before = (target.wish.action == Action::Restart).then_some(seen.and_then(|seen| seen.started));
    well_again(engine, plan, &target.name, before, terms.limit).await?;
    let proven = proven(target, terms).await?;
    acted.insert(target.name.clone(), began);
    Ok(Some(if proven { "it is well and serves the current certificate" } else { "it is well" }))
}

/// A close look; `None` where names are configured and looking is forbidden.
pub async fn look(engine: &impl Engine, plan: &Plan, name: &str) -> Result<Option<Seen>, String> {
    match engine.inspect(name).await {
        Ok(seen) => Ok(Some(seen)),
        Err(Refusal::Forbidden { .. }) if plan.by_name => Ok(None),
        Err(other) => Err(other.to_string()),
    }
}

/// Waits until the target is seen to hold the current material; false where that can't be seen.
async fn proven(target: &Target, terms: &Terms<'_>) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        match (terms.held)(target).await {
            None => return Ok(false),
            Some(Ok(())) => return Ok(true),
            Some(Err(why)) if began.elapsed() >= terms.limit.min(PROOF) => {
                return Err(format!("it was told ({}), but {why}", target.wish.action));
            }
            Some(Err(_)) => sleep(LOOK).await,
        }
    }
}

async fn act(engine: &impl Engine, target: &Target) -> Result<(), Refusal> {
    match &target.wish.action {
        Action::Restart => engine.restart(&target.name).await,
        Action::Signal(signal) => engine.signal(&target.name, signal.as_str()).await,
        Action::Exec(command) => engine.exec(&target.name, command).await,
        Action::None => Ok(()),
    }
}

/// Waits until it is healthy, or runs where it has no health check; after a restart, as another process than `before`.
async fn well_again(
    engine: &impl Engine,
    plan: &Plan,
    name: &str,
    before: Option<Option<OffsetDateTime>>,
    limit: Duration,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let Some(seen) = look(engine, plan, name).await? else { return Ok(()) };
        let renewed = before.is_none_or(|before| seen.started != before);
        let doing = match seen.health {
            _ if !seen.running => "does not run",
            _ if !renewed => "has not started again",
            Health::Unchecked | Health::Healthy => return Ok(()),
            Health::Starting => "is not healthy yet",
            Health::Unhealthy => "is unhealthy",
        };
        if began.elapsed() >= limit {
            return Err(format!("it {doing} after {limit:?} (WARDEN_DEPENDENT_TIMEOUT); the dependents after it wait"));
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests;
