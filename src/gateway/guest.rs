//! One client connection as its calls see it: who is there, how many calls are open, how many brought a bad token.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, SetOnce};

use super::{
    authenticate::Last,
    identity::Peer,
    metrics::{Limit, Tally},
    unread::{Account, Unread},
};

/// Bad tokens one connection may bring within [`WINDOW`]. Each costs a signature check (some 50 µs); a worker whose
/// token has expired sends far fewer, for its SDK backs off.
const BAD_TOKENS: u32 = 1000;
/// How long a connection may go on that has to go.
pub(super) const EVICTED: Duration = Duration::from_millis(500);
/// See [`BAD_TOKENS`].
const WINDOW: Duration = Duration::from_secs(10);

/// The connection.
pub(super) struct Guest {
    /// Who is at the other end.
    pub peer: Peer,
    /// Where its worker counts.
    pub tally: Arc<Tally>,
    /// Its token.
    pub last: Last,
    /// Told when it has to go; [`Guest::farewell`] says why.
    pub unwelcome: Notify,
    /// Set when its GOAWAY is on the way.
    pub leaves: SetOnce<()>,
    /// What it has not read.
    pub unread: Account,
    farewell: OnceLock<&'static Farewell>,
    open: AtomicU32,
    bad: Mutex<Option<(Instant, u32)>>,
}

/// Why a connection has to go, and how long it may take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    /// Its limit.
    limit: Limit,
    /// In words, for the log and its calls' records.
    pub why: &'static str,
    /// From GOAWAY to the cut.
    pub grace: Duration,
}

impl Farewell {
    const BAD_TOKENS: &'static Self =
        &Self { limit: Limit::BadTokens, why: "it brought too many bad tokens", grace: EVICTED };
    /// It floods with frames that ask for nothing.
    pub(super) const FLOOD: &'static Self = &Self {
        limit: Limit::Frames,
        why: "it flooded with PING, SETTINGS or other frames that ask for nothing",
        grace: EVICTED,
    };
    /// It leaves answers unread; GOAWAY would not be read either.
    pub(super) const UNREAD: &'static Self = &Self {
        limit: Limit::Unread,
        why: "it left more of its answers unread than all clients of a worker may together",
        grace: Duration::ZERO,
    };
}

/// One open call's place.
pub(super) struct Seat(Arc<Guest>);

impl Guest {
    /// Nobody has called yet.
    pub(super) fn new(peer: Peer, tally: Arc<Tally>, unread: Arc<Unread>) -> Self {
        Self {
            peer,
            tally,
            last: Last::default(),
            unwelcome: Notify::new(),
            leaves: SetOnce::new(),
            unread: Account::new(unread),
            farewell: OnceLock::new(),
            open: AtomicU32::new(0),
            bad: Mutex::new(None),
        }
    }

    /// Ends the connection; the first reason stands and is counted.
    pub(super) fn show_out(&self, farewell: &'static Farewell) {
        if self.farewell.set(farewell).is_ok() {
            self.tally.hit(farewell.limit);
            self.unwelcome.notify_one();
        }
    }

    /// Why it has to go, if it has.
    pub(super) fn farewell(&self) -> Option<&'static Farewell> {
        self.farewell.get().copied()
    }

    /// A place for one more call, and whether it is one of the first `most`.
    pub(super) fn seat(self: &Arc<Self>, most: u32) -> (Seat, bool) {
        self.tally.begun();
        let taken = self.open.fetch_add(1, Relaxed);
        (Seat(self.clone()), taken < most)
    }

    /// Notes a token that did not pass; a connection that brings no end of them has to go.
    pub(super) fn brought_bad_token(&self, now: Instant) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = bad.filter(|(since, _)| now - *since < WINDOW).unwrap_or((now, 0));
        *bad = Some((since, count + 1));
        if count + 1 == BAD_TOKENS {
            self.show_out(Farewell::BAD_TOKENS);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.tally.ended();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn guest() -> Arc<Guest> {
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), words: String::new(), identity: None };
        Arc::new(Guest::new(peer, Arc::default(), Arc::default()))
    }

    #[test]
    fn bad_tokens_end_a_connection_only_when_they_come_fast() {
        let (slow, fast, start) = (guest(), guest(), Instant::now());
        for number in 0..3 * BAD_TOKENS {
            slow.brought_bad_token(start + number * Duration::from_millis(11));
        }
        (0..BAD_TOKENS).for_each(|_| fast.brought_bad_token(start));
        assert_eq!(slow.unwelcome.notified().now_or_never(), None);
        assert_eq!(fast.unwelcome.notified().now_or_never(), Some(()));
    }

    #[test]
    fn a_seat_is_free_again_when_its_call_is_over() {
        let guest = guest();
        let (first, fits) = guest.seat(1);
        assert!(fits && !guest.seat(1).1);
        drop(first);
        assert!(guest.seat(1).1);
    }
}
