//! The task that keeps the keys: fetches when it is time or somebody needs one that is not there, and lets go of what
//! is too old.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Issuer,
    fetch::{Door, fetch},
    schedule::{left, pause},
};
use crate::{clock, gateway::link::KeysKept, tokens::IssuerKeys};

/// Name, connection, TLS, question and answer together; with discovery twice.
const LIMIT: Duration = Duration::from_secs(5);

/// What the control loop brings into force, and then [`Issuer::settle`]s.
pub(in crate::gateway) enum News {
    /// Keys that differ from those before, and what they were read from.
    Keys(Arc<IssuerKeys>, KeysKept),
    /// Nothing changed, or the fetch failed: only those who wait are to be told.
    Same,
    /// The keys at hand are too old.
    Gone,
}

/// What is at hand.
struct Held {
    document: String,
    fetched_ms: i64,
}

/// Keeps them for ever; ends when nobody listens. `kept` is what the process before had.
pub(in crate::gateway) async fn keep(issuer: Arc<Issuer>, kept: Option<KeysKept>, news: mpsc::Sender<News>) {
    let door = Door::new(&issuer.from);
    let mut held = take_over(&issuer, kept, &news).await;
    let (mut failures, mut due) = (0, Instant::now());
    loop {
        let good_until = held.as_ref().map(|held| Instant::now() + left(&issuer.from, held.fetched_ms, now_ms()));
        let demanded = tokio::select! {
            () = sleep_until(due) => false,
            () = issuer.wanted.notified() => match issuer.is_due(Instant::now()) {
                true => true,
                false => continue,
            },
            () = sleep_until(good_until.unwrap_or(due)), if good_until.is_some() => {
                let url = &issuer.from.url;
                tracing::error!("{url}: no keys could be fetched for too long; those at hand are no longer used");
                held = None;
                if news.send(News::Gone).await.is_err() {
                    return;
                }
                continue;
            }
        };
        issuer.begin(demanded);
        let fetched = match &door {
            Ok(door) => {
                timeout(LIMIT, fetch(door)).await.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
            }
            Err(why) => Err(why.clone()),
        };
        let fetched = fetched.and_then(read).map_err(|why| format!("{}: {why}", issuer.from.url));
        let said = match fetched {
            Ok((document, keys)) => {
                let now_ms = now_ms();
                issuer.end(Ok(now_ms));
                let changed = held.as_ref().is_none_or(|held| held.document != document);
                if changed || failures > 0 {
                    tracing::info!(
                        "{}: {} keys fetched: {}",
                        issuer.from.url,
                        keys.kids().len(),
                        keys.kids().join(", ")
                    );
                }
                failures = 0;
                held = Some(Held { document: document.clone(), fetched_ms: now_ms });
                let kept = KeysKept { url: issuer.from.url.clone(), document, fetched_ms: now_ms };
                if changed { News::Keys(Arc::new(keys), kept) } else { News::Same }
            }
            Err(why) => {
                failures += 1;
                issuer.end(Err(&why));
                let what = if held.is_some() { "those at hand go on" } else { "its tokens cannot be checked" };
                tracing::warn!("the keys of the external issuer could not be fetched ({what}): {why}");
                News::Same
            }
        };
        due = Instant::now() + pause(&issuer.from, failures, jitter());
        if news.send(said).await.is_err() {
            return;
        }
    }
}

/// What the process before had, if it is from the same place and not too old.
async fn take_over(issuer: &Issuer, kept: Option<KeysKept>, news: &mpsc::Sender<News>) -> Option<Held> {
    let kept = kept.filter(|kept| kept.url == issuer.from.url)?;
    let (_, keys) = read(kept.document.clone()).ok()?;
    if left(&issuer.from, kept.fetched_ms, now_ms()).is_zero() {
        return None;
    }
    issuer.lock().fetched_ms = kept.fetched_ms;
    let held = Held { document: kept.document.clone(), fetched_ms: kept.fetched_ms };
    news.send(News::Keys(Arc::new(keys), kept)).await.ok()?;
    Some(held)
}

fn read(document: String) -> Result<(String, IssuerKeys), String> {
    let keys = IssuerKeys::parse(&document).map_err(|error| format!("what it sends {error}"))?;
    Ok((document, keys))
}

fn now_ms() -> i64 {
    i64::try_from(clock::now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

/// So that many wardens do not come back to an issuer in one moment.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    aws_lc_rs::rand::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 256.0)
}
