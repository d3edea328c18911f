//! What goes on while all is well: readiness for the supervisor, renewal when something is due, SIGHUP.

use std::{rc::Rc, time::Duration};

use tokio::task::spawn_local;
use tracing::{info, warn};

use super::{GATEWAY, TEMPORAL, Warden, desk, reload};
use crate::{
    audit::{Act, By},
    backoff, clock,
    gateway::link::{ChildState, Health, Phase, Snapshot},
    rotation::{self, BundleState, Request, Sight},
    supervisor::{ChildStatus, Outside, State},
};

/// How often it is looked whether something is due, or another process published a generation.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after a renewal that failed or was not possible.
const RETRY: Duration = Duration::from_secs(900);
/// The same for the second half of a change of the signing key, which waits for nothing but Temporal.
const KEY_RETRY: Duration = Duration::from_secs(60);

/// The same for a bundle whose folder could not be written, which is soon right again or not for long.
const BUNDLE_RETRY: Duration = Duration::from_secs(5);
const BUNDLE_RETRY_CAP: Duration = Duration::from_secs(300);

/// A gateway that says nothing for this long has failed a probe; it has something to say every second.
const SILENCE: Duration = Duration::from_secs(5);

/// Passes the gateway's reports on: what is healthy has its back-off reset, what is silent is found.
pub(super) async fn watch_health(warden: Rc<Warden>) {
    let mut health = warden.parent.health();
    let (mut was_serving, mut was_silent, mut was_stuck) = (false, 0, 0);
    while health.changed().await.is_ok() {
        let now = health.borrow_and_update().clone();
        if now.reported && now.worker_silent == 0 {
            warden.supervisor.ready(GATEWAY);
        }
        if now.worker_silent > was_stuck {
            let worker = &now.silent_worker;
            warn!(
                "{worker} of the gateway gives no sign of life while the rest of it goes on: {} in a row",
                now.worker_silent
            );
            warden.supervisor.failed_probe(GATEWAY, Some(worker));
        } else if now.worker_silent < was_stuck {
            warden.supervisor.answered(GATEWAY);
        }
        was_stuck = now.worker_silent;
        if vouches_for_temporal(&warden, &now) {
            warden.supervisor.ready(TEMPORAL);
        }
        if now.upstream_silent > was_silent {
            warn!("Temporal leaves probes without any answer: {} in a row", now.upstream_silent);
            warden.supervisor.failed_probe(TEMPORAL, None);
        } else if now.upstream_silent < was_silent {
            warden.supervisor.answered(TEMPORAL);
        }
        was_silent = now.upstream_silent;
        if now.serving != was_serving {
            match now.serving {
                true => info!("SERVING"),
                false => warn!("NOT_SERVING: {}", now.reason),
            }
        }
        was_serving = now.serving;
    }
}

/// Finds a gateway that hangs as a whole: it stays silent. One of its workers is found by the gateway itself.
pub(super) async fn watch_gateway(warden: Rc<Warden>) {
    let mut heard = warden.parent.heard();
    let mut silent = false;
    loop {
        let was_silent = silent;
        silent = tokio::time::timeout(SILENCE, heard.changed()).await.is_err();
        match (was_silent, silent) {
            (_, true) => warden.supervisor.failed_probe(GATEWAY, None),
            (true, false) => warden.supervisor.answered(GATEWAY),
            (false, false) => {}
        }
    }
}

/// Tells the gateway what its metrics show of us: at each change of a process, and soon after each new generation.
pub(super) async fn tell_metrics(warden: Rc<Warden>) {
    let mut children = warden.supervisor.watch();
    loop {
        warden.parent.snapshot(snapshot(&warden));
        let _ = tokio::time::timeout(LOOK, children.changed()).await;
    }
}

fn snapshot(warden: &Warden) -> Snapshot {
    let live = warden.live.borrow();
    let ends = |ending: &str| {
        let named = live.artefacts.iter().filter(|artefact| artefact.name.ends_with(ending));
        named.filter_map(|a| Some((a.name.clone(), a.not_after?.unix_timestamp()))).collect()
    };
    let children = warden.supervisor.statuses().into_iter().map(|child| ChildState {
        name: child.name.to_owned(),
        up: child.state == State::Ready,
        restarts: child.restarts,
    });
    Snapshot {
        generation: live.generation,
        certificates: ends(".crt"),
        tokens: ends(".jwt"),
        children: children.collect(),
    }
}

/// Whether a probe that began after the engine's current process did has succeeded.
fn vouches_for_temporal(warden: &Warden, health: &Health) -> bool {
    let statuses = warden.supervisor.statuses();
    let starting = statuses.iter().find(|c| c.name == TEMPORAL && c.state == State::Starting);
    let probed = |child: &ChildStatus| began_since(health.probed_ms, clock::ms(child.since), clock::ms(clock::now()));
    health.upstream_ok && starting.is_some_and(probed)
}

/// All in milliseconds of Unix time. With the clock set back to before the start nothing can be told, and a process that
/// answers is not to be restarted for that.
fn began_since(probed: i64, start: i64, now: i64) -> bool {
    probed >= start || now < start
}

/// Makes what is due, ends what was begun and takes over what another process published, for ever.
pub(super) async fn renew(warden: Rc<Warden>) {
    let mut unwritten = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let (sure, behind) = (look_at_the_clock(&warden), is_behind(&warden));
        let request = match () {
            () if sure && is_half_done(&warden) => Request::FinishKey,
            () if (sure && is_due(&warden)) || behind || lacks_a_bundle(&warden) => Request::MakeMissing,
            () => continue,
        };
        let mut pause = if request == Request::FinishKey { KEY_RETRY } else { RETRY };
        match desk::make(&warden, request, None).await {
            Err(reason) => warn!("the renewal failed and is tried again in {pause:?}: {reason}"),
            // With an offline CA what is due stays due; it was said why.
            Ok(()) if sure && is_due(&warden) => {}
            Ok(()) if lacks_a_bundle(&warden) => {
                unwritten += 1;
                pause = backoff::delay(BUNDLE_RETRY, BUNDLE_RETRY_CAP, unwritten, 0.0);
            }
            Ok(()) => {
                unwritten = 0;
                continue;
            }
        }
        rest(&warden, request, behind, pause).await;
    }
}

/// A pause after `tried`, in which the clock is still watched. A change of the signing key does not wait for its end, nor
/// does a generation of another process, unless it was the one that could not be taken over.
async fn rest(warden: &Warden, tried: Request, behind: bool, pause: Duration) {
    let end = tokio::time::Instant::now() + pause;
    let nothing_new = || (tried == Request::FinishKey || !is_half_done(warden)) && (behind || !is_behind(warden));
    while tokio::time::Instant::now() < end && nothing_new() {
        tokio::time::sleep(LOOK).await;
        look_at_the_clock(warden);
    }
}

/// Whether time may decide now; what changed about that is logged.
pub(super) fn look_at_the_clock(warden: &Warden) -> bool {
    let sight = warden.clock.borrow_mut().look(super::glance());
    match sight {
        Sight::Jumped(by) => warn!(
            "the clock jumped by {} days, to {}: nothing is renewed or retired by it before a second look",
            by.whole_days(),
            clock::now()
        ),
        Sight::Settled => info!("the second look at the clock agrees with the first: what is due is renewed"),
        Sight::Sure | Sight::Doubtful => {}
    }
    warden.clock.borrow().is_sure()
}

/// Whether a new signing key waits for its tokens, and Temporal can be asked about it.
fn is_half_done(warden: &Warden) -> bool {
    warden.live.borrow().behind && warden.parent.health().borrow().upstream_ok
}

fn is_due(warden: &Warden) -> bool {
    warden.live.borrow().next_due.is_some_and(|due| due <= clock::now())
}

/// Whether a bundle could not be written: its consumer still has what was there before.
fn lacks_a_bundle(warden: &Warden) -> bool {
    warden.live.borrow().bundles.iter().any(|bundle| matches!(bundle.state, BundleState::Failed(_)))
}

/// Whether the folder holds another generation than the one in force; one look at a link.
fn is_behind(warden: &Warden) -> bool {
    let found = rotation::current_generation(&warden.config()).ok().flatten();
    found.is_some_and(|generation| generation != warden.live.borrow().generation)
}

/// What the supervisor leaves to the rest of the program.
pub(super) fn outside(warden: &Rc<Warden>, event: Outside) {
    match event {
        Outside::Hup => {
            warden.audit.journal.note(Act::Reload, By::Hangup, "");
            let warden = warden.clone();
            spawn_local(async move { reload::hang_up(&warden).await });
        }
        Outside::Stopping => {
            warden.audit.journal.note(Act::Stop, By::Itself, "");
            warden.parent.phase(Phase::Stopping);
            warden.doors.replace(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_of_the_process_before_vouches_for_no_other_and_a_clock_set_back_condemns_none() {
        let (start, now) = (1_000, 3_000);
        assert!(!began_since(999, start, now));
        assert!(began_since(2_000, start, now));
        assert!(began_since(-5_000, start, -4_000), "set back since");
    }
}
