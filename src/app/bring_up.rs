//! From material to SERVING: gateway first (so that `/health` tells why not yet), schema, engine, namespaces.

use std::{rc::Rc, time::Duration};

use tokio::{
    task::spawn_local,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{Warden, stage};
use crate::{
    audit::{Act, By},
    backoff,
    gateway::link::Health,
    temporal::namespaces::{self, Next, Outcome},
};

/// Between tries of a start step that failed.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(15);
/// How long an external frontend may stay silent before the reason is logged for the first time: the first probe of it,
/// which gives up after 5 s, has ended by then.
const UPSTREAM_PATIENCE: Duration = Duration::from_secs(6);

/// The whole start; returns when all is up, or when the supervisor has given up on it.
pub(super) async fn bring_up(warden: Rc<Warden>) {
    warden.supervise_gateway();
    spawn_local(stage::show(warden.clone()));
    until_done(&warden, "preparing the database", || warden.schema_before()).await;
    if warden.boot().engine.child.is_some() {
        warden.supervise_engine();
    }
    answer(&warden).await;
    until_done(&warden, "completing the database", || warden.schema_after()).await;
    let config = warden.config();
    for namespace in &config.temporal.namespaces {
        register(&warden, namespace).await;
    }
    warden.started();
    info!("Temporal is served on {}", warden.config().gateway.listen);
}

/// Tries a step until it is done, for the database may come up later.
async fn until_done<F: Future<Output = Result<(), String>>>(warden: &Warden, doing: &str, step: impl Fn() -> F) {
    for failures in 1.. {
        warden.starting(doing, None);
        match step().await {
            Ok(()) => return,
            Err(reason) => again(warden, doing, &reason, backoff::delay(RETRY_BASE, RETRY_CAP, failures, 0.0)).await,
        }
    }
}

/// Waits until a call that reads the database succeeds. A frontend that is not ours should be up already, so
/// what is wrong with its address is said early, then less and less often.
async fn answer(warden: &Warden) {
    let config = warden.config();
    let longest = config.temporal.start_timeout;
    let (doing, mut limit) = match &config.temporal.upstream {
        None => ("starting Temporal".to_owned(), longest),
        Some(upstream) => (format!("waiting for WARDEN_UPSTREAM={}", upstream.address), UPSTREAM_PATIENCE.min(longest)),
    };
    warden.starting(&doing, None);
    let mut health = warden.parent.health();
    let mut until = Instant::now() + limit;
    loop {
        let Health { upstream_ok, upstream_detail: said, probed_ms, .. } = health.borrow_and_update().clone();
        if upstream_ok {
            return;
        }
        if config.temporal.upstream.is_some() && probed_ms > 0 {
            warden.starting(&doing, Some(&said));
        }
        match timeout_at(until, health.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                warn!("{doing}: no answer within {limit:?} ({said}); still waiting");
                warden.starting(&doing, Some(&said));
                limit = (limit * 2).min(longest);
                until = Instant::now() + limit;
            }
        }
    }
}

/// Registers one namespace by the real CLI; what cannot be registered in the end stops the start, loudly.
async fn register(warden: &Warden, namespace: &str) {
    let doing = format!("registering the namespace {namespace}");
    for attempt in 1.. {
        warden.starting(&doing, None);
        let outcome = warden.register(namespace).await;
        if outcome == Outcome::Created {
            info!("namespace {namespace} registered");
            warden.audit.journal.note(Act::RegisterNamespace, By::Itself, namespace);
        }
        match (namespaces::next(namespace, attempt, &outcome), outcome) {
            (Next::Done, _) => return,
            (Next::Again(pause), Outcome::Failed(why)) => again(warden, &doing, &why, pause).await,
            (Next::Again(pause), _) => tokio::time::sleep(pause).await,
            (Next::GiveUp(why), _) => {
                return warden.supervisor.abandon(why);
            }
        }
    }
}

async fn again(warden: &Warden, doing: &str, reason: &str, pause: Duration) {
    warn!("{doing} failed: {reason}; next try in {pause:?}");
    warden.starting(doing, Some(reason));
    tokio::time::sleep(pause).await;
}
