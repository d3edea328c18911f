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
        let said = match ask(&issuer.from.url, &door).await {
            Ok((kept, keys)) => {
                issuer.end(Ok(kept.fetched_ms));
                let changed = held.as_ref().is_none_or(|held| held.document != kept.document);
                if changed || failures > 0 {
                    let kids = keys.kids();
                    tracing::info!("{}: {} keys fetched: {}", issuer.from.url, kids.len(), kids.join(", "));
                }
                failures = 0;
                held = Some(kept.clone());
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
async fn take_over(issuer: &Issuer, kept: Option<KeysKept>, news: &mpsc::Sender<News>) -> Option<KeysKept> {
    let kept = kept.filter(|kept| kept.url == issuer.from.url)?;
    let keys = read(&kept.document).ok()?;
    if left(&issuer.from, kept.fetched_ms, now_ms()).is_zero() {
        return None;
    }
    issuer.lock().fetched_ms = kept.fetched_ms;
    news.send(News::Keys(Arc::new(keys), kept.clone())).await.ok()?;
    Some(kept)
}

/// One fetch, read.
async fn ask(url: &str, door: &Result<Door, String>) -> Result<(KeysKept, IssuerKeys), String> {
    let named = |why: String| format!("{url}: {why}");
    let door = door.as_ref().map_err(|why| named(why.clone()))?;
    let late = |_| Err(format!("no answer within {LIMIT:?}"));
    let document = timeout(LIMIT, fetch(door)).await.unwrap_or_else(late).map_err(named)?;
    let keys = read(&document).map_err(named)?;
    Ok((KeysKept { url: url.to_owned(), document, fetched_ms: now_ms() }, keys))
}

fn read(document: &str) -> Result<IssuerKeys, String> {
    IssuerKeys::parse(document).map_err(|error| format!("what it sends {error}"))
}

fn now_ms() -> i64 {
    clock::ms(clock::now())
}

/// So that many wardens do not come back to an issuer in one moment.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    aws_lc_rs::rand::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 256.0)
}
