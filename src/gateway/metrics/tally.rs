//! What one worker has counted. Only its own thread writes, so a count costs no wait; a scrape reads and sums.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::causes::{Denial, HandshakeFailure, Limit, Words};
use crate::{gateway::methods::METHODS, tokens::Scopes};

/// gRPC status codes by number (grpc/statuscodes.md), and one for what is none of them.
pub(super) const CODES: [&str; 18] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "other",
];
/// Upper bounds of the latency buckets, microseconds.
pub(super) const BOUNDS: [u64; 14] =
    [10, 25, 50, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// Counts of one method: a cell per code and set of scopes.
type Cells = [[AtomicU64; CODES.len()]; Scopes::SETS];

/// One worker's counts; on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(in crate::gateway) struct Tally {
    /// A place per row of the table of methods and one for all others; made at the first call.
    calls: Calls,
    denials: Counts<{ Denial::ALL.len() }>,
    handshakes: Counts<{ HandshakeFailure::ALL.len() }>,
    limits: Counts<{ Limit::ALL.len() }>,
    added: Counts<{ BOUNDS.len() + 1 }>,
    added_nanos: AtomicU64,
    accepted: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

struct Calls(Box<[OnceLock<Box<Cells>>]>);

impl Default for Calls {
    fn default() -> Self {
        Self((0..=METHODS.len()).map(|_| OnceLock::new()).collect())
    }
}

/// Counters by number.
pub(super) struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Counts<N> {
    fn add(&self, at: usize) {
        self.0[at].fetch_add(1, Relaxed);
    }

    fn add_to(&self, sums: &mut [u64]) {
        self.0.iter().zip(sums).for_each(|(count, sum)| *sum += count.load(Relaxed));
    }
}

impl Tally {
    /// A connection was accepted.
    pub(in crate::gateway) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// A call began.
    pub(in crate::gateway) fn begun(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// A call is over and its stream gone.
    pub(in crate::gateway) fn ended(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    /// Calls begun, and of these denied, since the start.
    pub(in crate::gateway) fn totals(&self) -> (u64, u64) {
        (self.begun.load(Relaxed), self.denials.0.iter().map(|count| count.load(Relaxed)).sum())
    }

    /// A call got its status. `method` is its row's number.
    pub(in crate::gateway) fn called(&self, method: Option<usize>, code: u32, scopes: Scopes, bytes: (u64, u64)) {
        let cells = self.calls.0[method.unwrap_or(METHODS.len())].get_or_init(Box::default);
        let code = usize::try_from(code).map_or(CODES.len() - 1, |code| code.min(CODES.len() - 1));
        cells[scopes.number()][code].fetch_add(1, Relaxed);
        self.request_bytes.fetch_add(bytes.0, Relaxed);
        self.response_bytes.fetch_add(bytes.1, Relaxed);
    }

    /// A call was refused.
    pub(in crate::gateway) fn denied(&self, why: Denial) {
        self.denials.add(why as usize);
    }

    /// A handshake failed.
    pub(in crate::gateway) fn handshake_failed(&self, why: HandshakeFailure) {
        self.handshakes.add(why as usize);
    }

    /// A limit was hit.
    pub(in crate::gateway) fn hit(&self, limit: Limit) {
        self.limits.add(limit as usize);
    }

    /// A forwarded call was this long in the gateway's own hands.
    pub(in crate::gateway) fn added(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let is_whole = time.subsec_nanos().is_multiple_of(1000);
        // `le` is inclusive: 10 µs and a bit is above the bound of 10.
        let place = BOUNDS.iter().position(|bound| micros < *bound || (micros == *bound && is_whole));
        self.added.add(place.unwrap_or(BOUNDS.len()));
        self.added_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// All workers' counts together.
#[derive(Default)]
pub(super) struct Sums {
    /// By method (the last is all others), scopes and code; methods never called are left out.
    pub(super) calls: Vec<(usize, [[u64; CODES.len()]; Scopes::SETS])>,
    pub(super) denials: [u64; Denial::ALL.len()],
    pub(super) handshakes: [u64; HandshakeFailure::ALL.len()],
    pub(super) limits: [u64; Limit::ALL.len()],
    pub(super) added: [u64; BOUNDS.len() + 1],
    pub(super) added_nanos: u64,
    pub(super) accepted: u64,
    pub(super) open: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl Sums {
    /// Reads every tally.
    pub(super) fn of<'a>(tallies: impl Iterator<Item = &'a Tally> + Clone) -> Self {
        let mut sums = Self::default();
        for tally in tallies.clone() {
            tally.denials.add_to(&mut sums.denials);
            tally.handshakes.add_to(&mut sums.handshakes);
            tally.limits.add_to(&mut sums.limits);
            tally.added.add_to(&mut sums.added);
            sums.added_nanos += tally.added_nanos.load(Relaxed);
            sums.accepted += tally.accepted.load(Relaxed);
            // Read in this order the difference is never negative.
            let ended = tally.ended.load(Relaxed);
            sums.open += tally.begun.load(Relaxed).saturating_sub(ended);
            sums.request_bytes += tally.request_bytes.load(Relaxed);
            sums.response_bytes += tally.response_bytes.load(Relaxed);
        }
        for method in 0..=METHODS.len() {
            let mut cells = [[0; CODES.len()]; Scopes::SETS];
            for from in tallies.clone().filter_map(|tally| tally.calls.0[method].get()) {
                let pairs = from.as_flattened().iter().zip(cells.as_flattened_mut());
                pairs.for_each(|(count, sum)| *sum += count.load(Relaxed));
            }
            if cells.as_flattened().iter().any(|count| *count > 0) {
                sums.calls.push((method, cells));
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let tally = Tally::default();
        for nanos in [0, 10_000, 10_001, 25_000, 1_000_000_000, 1_000_000_001] {
            tally.added(Duration::from_nanos(nanos));
        }
        let sums = Sums::of([&tally].into_iter());
        assert_eq!((sums.added[0], sums.added[1]), (2, 2));
        assert_eq!((sums.added[BOUNDS.len() - 1], sums.added[BOUNDS.len()]), (1, 1));
    }

    #[test]
    fn workers_are_summed_and_unknown_methods_and_codes_are_one() {
        let (one, two) = (Tally::default(), Tally::default());
        one.called(None, 0, Scopes::default(), (3, 4));
        two.called(None, 99, Scopes::parse("temporal-worker"), (0, 0));
        two.called(Some(0), 7, Scopes::default(), (0, 0));
        let sums = Sums::of([&one, &two].into_iter());
        let all: u64 = sums.calls.iter().flat_map(|(_, cells)| cells.as_flattened()).sum();
        assert_eq!((all, sums.calls.len(), sums.request_bytes, sums.response_bytes), (3, 2, 3, 4));
        assert_eq!(sums.calls[1].0, METHODS.len());
        assert_eq!(sums.calls[1].1[Scopes::parse("temporal-worker").number()][CODES.len() - 1], 1);
    }
}
