//! Telling dependents: one after the other, the next only when the one before is well again.

use std::{collections::BTreeMap, time::Duration};

use nix::sys::signal::Signal;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::{
    engine::{Engine, Health, Refusal, Seen},
    labels::Action,
    plan::{Plan, Target},
};

/// Between two looks at a container that is coming back.
const LOOK: Duration = Duration::from_millis(500);

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

/// Whether `target` has to be told. A container that started after the publication read the new files, whoever
/// started it: that makes a second try, and a crash of ours between two dependents, harmless.
pub fn need(target: &Target, seen: &Seen, acted: &Acted) -> Need {
    let told = acted.get(&target.name).is_some_and(|at| *at >= target.since);
    let fresh = seen.started.is_some_and(|at| at >= target.since);
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
    limit: Duration,
    now: &dyn Fn() -> OffsetDateTime,
    say: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    for target in &plan.targets {
        let failed = |why: String| Failure { name: target.name.clone(), why };
        let seen = engine.inspect(&target.name).await.map_err(|e| failed(e.to_string()))?;
        if need(target, &seen, acted) == Need::Done {
            // Told before, perhaps without getting well: those after it wait all the same.
            well_again(engine, &target.name, None, limit).await.map_err(failed)?;
            continue;
        }
        let began = now();
        act(engine, target).await.map_err(|e| failed(e.to_string()))?;
        let before = (target.wish.action == Action::Restart).then_some(seen.started);
        well_again(engine, &target.name, before, limit).await.map_err(failed)?;
        acted.insert(target.name.clone(), began);
        say(format!("{}: {} done, and it is well", target.name, target.wish.action));
    }
    Ok(())
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
    name: &str,
    before: Option<Option<OffsetDateTime>>,
    limit: Duration,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let seen = engine.inspect(name).await.map_err(|e| e.to_string())?;
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
