//! Telling dependents after a rotation, for as long as it takes; what they are told is [`crate::docker`]'s to decide.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::Warden;
use crate::{
    audit::{Act, By},
    backoff, clock,
    docker::{self, Acted, Client, Engine, Need, Plan, Refusal},
};

/// A rotation of several parts is told once: this long nothing more may come…
const SETTLE: Duration = Duration::from_secs(2);
/// …but not for longer than this.
const SETTLED: Duration = Duration::from_secs(30);
/// Between two tries of a row that stopped.
const RETRY_BASE: Duration = Duration::from_secs(5);
const RETRY_CAP: Duration = Duration::from_secs(300);

/// What is known of the dependents.
#[derive(Debug, Default)]
pub(super) struct Dependents {
    /// Held while a row is told.
    acted: Mutex<Acted>,
    /// Why the row stopped; `None` = all who had to be told were.
    pending: RefCell<Option<String>>,
    /// Warnings about labels that were given already.
    warned: RefCell<Vec<String>>,
}

impl Dependents {
    /// Why the row stopped, in one line; `None` = all who had to be told were.
    pub(super) fn pending(&self) -> Option<String> {
        self.pending.borrow().clone()
    }
}

/// Tells whoever holds older material than is published: at the start, after each generation, and again after a failure.
/// A failure is said once until there is new material; `status` has it all the time.
pub(super) async fn tell(warden: Rc<Warden>, mut changed: watch::Receiver<u64>) {
    let mut failures = 0;
    loop {
        settle(&warden, &mut changed).await;
        match pass(&warden, By::Itself).await {
            Ok(()) => {
                failures = 0;
                if changed.changed().await.is_err() {
                    return;
                }
            }
            Err(why) => {
                failures += 1;
                if failures == 1 {
                    warn!("dependents were not told of the new material, and are tried again: {why}");
                }
                let pause = backoff::delay(RETRY_BASE, RETRY_CAP, failures, 0.2);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = changed.changed() => failures = 0,
                }
            }
        }
    }
}

/// Waits until a rotation of several parts is over, a change of the signing key with both its halves.
async fn settle(warden: &Warden, changed: &mut watch::Receiver<u64>) {
    let quiet = async { while timeout(SETTLE, changed.changed()).await.is_ok_and(|changed| changed.is_ok()) {} };
    let _ = timeout(SETTLED, quiet).await;
    drop(warden.turn.lock().await);
    changed.mark_unchanged();
}

/// Tells each who has to be told, and keeps why that stopped.
async fn pass(warden: &Warden, by: By) -> Result<(), String> {
    let done = row(warden, by).await.map_err(|why| one_line(&why));
    warden.dependents.pending.replace(done.clone().err());
    done
}

async fn row(warden: &Warden, by: By) -> Result<(), String> {
    if warden.live.borrow().published.is_empty() {
        return Ok(());
    }
    let (client, plan) = look(warden).await?;
    for warning in &plan.warnings {
        if !warden.dependents.warned.borrow().contains(warning) {
            warn!("{warning}");
        }
    }
    warden.dependents.warned.replace(plan.warnings.clone());
    let mut acted = warden.dependents.acted.lock().await;
    let limit = warden.config().docker.timeout;
    let mut told = |line: String| {
        info!("dependent {line}");
        warden.audit.journal.note(Act::TellDependents, by, &line);
    };
    docker::roll(&client, &plan, &mut acted, limit, &clock::now, &mut told).await.map_err(|failure| failure.to_string())
}

/// Docker's words may be of several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn look(warden: &Warden) -> Result<(Client, Plan), String> {
    let client = Client::new(&warden.config().docker.host).map_err(without)?;
    let listed = client.list().await.map_err(without)?;
    let published = warden.live.borrow().published.clone();
    let plan = docker::plan(&listed, docker::own_id().as_deref(), &published)?;
    Ok((client, plan))
}

/// A rotation is complete without Docker; what that leaves to do is said.
fn without(refusal: Refusal) -> String {
    format!(
        "{refusal}; the rotation itself is complete, and services that read their files only at a start need a restart by you"
    )
}

/// What would be done and why each other container is left alone, a line each.
pub(super) async fn list(warden: &Warden) -> Result<Vec<String>, String> {
    let (client, plan) = look(warden).await?;
    let told = warden.dependents.acted.try_lock();
    let acted = told.as_deref().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    if told.is_err() {
        lines.push("they are being told just now, one after the other".to_owned());
    }
    drop(told);
    for target in &plan.targets {
        let seen = client.inspect(&target.name).await.map_err(|e| e.to_string())?;
        let (wish, name) = (&target.wish, &target.name);
        lines.push(match docker::need(target, &seen, &acted) {
            Need::Due => format!("{name}: {} is due, it holds what was replaced on {}", wish.action, target.since),
            Need::Done => {
                format!("{name}: {} is not needed, it started or was told after {}", wish.action, target.since)
            }
        });
        lines.extend(docker::advice(target, &seen).map(|advice| format!("  warning: {advice}")));
    }
    lines.extend(plan.skips.iter().map(|skip| format!("{}: skipped, it {}", skip.name, skip.why)));
    lines.extend(warden.dependents.pending().map(|why| format!("pending: {why}")));
    Ok(lines)
}

/// Tells now whoever holds older material, instead of at the next try; what stops is tried again like any other.
pub(super) async fn now(warden: &Warden, by: By) -> Result<(), String> {
    let idle = warden.dependents.pending().is_none();
    let done = pass(warden, by).await;
    if done.is_err() && idle {
        warden.changed.send_modify(|_| {});
    }
    done
}
