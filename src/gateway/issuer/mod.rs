//! The keys of an external issuer: fetched by this process, which is the one that may be talked to from outside, and
//! never by PID 1. `schedule` says when, `fetch` asks, `keeper` is the task that does both; a call only looks at what is there.
//!
//! A call waits for a fetch in one case: its token names a key that is not known, and a fetch is allowed. All others
//! are judged by the keys at hand, however old.

mod fetch;
mod keeper;
mod schedule;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::link::{External, IssuerSight, KeysFrom};
use crate::tokens::IssuerKeys;

pub(super) use keeper::{News, keep};

/// Longest wait of a call whose key is not known.
const PATIENCE: Duration = Duration::from_secs(3);
/// Names of keys that are reported.
const SHOWN: usize = 20;

/// What all workers see of it.
pub(super) struct Issuer {
    from: KeysFrom,
    state: Mutex<State>,
    wanted: Notify,
    /// Grows when the result of a fetch is in force.
    settled: watch::Sender<u64>,
    /// Fetches that succeeded, and that failed.
    pub fetches: [AtomicU64; 2],
}

#[derive(Default)]
struct State {
    asking: bool,
    /// When a token last had it fetch: what the clock has it fetch must not use up a token's turn.
    demanded: Option<Instant>,
    error: Option<String>,
    fetched_ms: i64,
    keys: Option<Arc<IssuerKeys>>,
}

/// What a wait for keys came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The keys at hand are those that the issuer has.
    Fresh,
    /// That is not known, and why.
    Unknown(String),
}

impl Issuer {
    /// Nothing is known yet.
    pub(super) fn new(from: KeysFrom) -> Arc<Self> {
        let (state, settled) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { from, state, wanted: Notify::new(), settled, fetches: Default::default() })
    }

    /// Waits for a fetch, if one is under way or allowed now.
    pub(super) async fn refreshed(&self) -> Outcome {
        let mut settled = self.settled.subscribe();
        if self.is_due(Instant::now()) {
            self.wanted.notify_one();
            if timeout(PATIENCE, settled.changed()).await.is_err() {
                return Outcome::Unknown(format!("{} has not answered yet", self.from.url));
            }
        }
        match &self.lock().error {
            None => Outcome::Fresh,
            Some(why) => Outcome::Unknown(why.clone()),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let state = self.lock();
        state.asking || state.demanded.is_none_or(|asked| now - asked >= Duration::from_millis(self.from.retry_ms))
    }

    /// The keys at hand, if they are those of the issuer that `external` names: those of another vouch for nothing.
    pub(super) fn keys_for(&self, external: &External) -> Option<Arc<IssuerKeys>> {
        let wanted = external.jwks.is_none() && external.rules.issuer == self.from.issuer;
        self.lock().keys.clone().filter(|_| wanted)
    }

    /// Puts keys at hand; `None` = those that are there are too old.
    pub(super) fn hold(&self, keys: Option<Arc<IssuerKeys>>) {
        self.lock().keys = keys;
    }

    /// Tells those who wait that the last result is in force.
    pub(super) fn settle(&self) {
        self.settled.send_modify(|count| *count += 1);
    }

    /// As PID 1 and people see it.
    pub(super) fn sight(&self, issuer: &str, keys: Option<&IssuerKeys>) -> IssuerSight {
        let state = self.lock();
        let stale = i64::try_from(self.from.stale_ms).unwrap_or(i64::MAX);
        IssuerSight {
            issuer: issuer.to_owned(),
            source: self.from.url.clone(),
            keys: shown(keys),
            fetched_ms: state.fetched_ms,
            error: state.error.clone().unwrap_or_default(),
            stale_at_ms: if state.fetched_ms == 0 { 0 } else { state.fetched_ms.saturating_add(stale) },
        }
    }

    /// When keys were last fetched, milliseconds of Unix time; 0 = never.
    pub(super) fn fetched_ms(&self) -> i64 {
        self.lock().fetched_ms
    }

    fn begin(&self, demanded: bool) {
        let mut state = self.lock();
        state.asking = true;
        if demanded {
            state.demanded = Some(Instant::now());
        }
    }

    fn end(&self, result: Result<i64, &str>) {
        let mut state = self.lock();
        state.asking = false;
        match result {
            Ok(now_ms) => (state.error, state.fetched_ms) = (None, now_ms),
            Err(why) => state.error = Some(why.to_owned()),
        }
        self.fetches[usize::from(result.is_err())].fetch_add(1, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of keys as they are reported.
pub(super) fn shown(keys: Option<&IssuerKeys>) -> Vec<String> {
    let mut kids = keys.map(IssuerKeys::kids).unwrap_or_default();
    kids.truncate(SHOWN);
    kids
}
