//! Frames of a client that ask for nothing, weighed against what else goes over its connection (RFC 9113 §10.5).
//!
//! h2 and hyper answer PING and SETTINGS without a limit. Honest clients send many too: grpc-go measures its bandwidth
//! with a PING per round trip while answers come in, so no fixed rate tells a flood; what was earned does.

use std::time::{Duration, Instant};

/// Frames that ask for nothing a connection may send at once; also the most it can save up.
const SAVED: u32 = 10_000;
/// A new one each time this has passed: a thousand a second.
const EACH: Duration = Duration::from_millis(1);
/// What a frame of a call earns: a window update or a PING for each that comes back, and some to spare.
const CALL: u32 = 4;
/// Bytes sent to the client that earn one. A PING's own answer has 17.
const BYTES: usize = 64;

/// Length of a frame's head (RFC 9113 §4.1).
const HEAD: usize = 9;

/// What one connection may still send.
pub(super) struct Frames {
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    known: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
    left: u32,
    since: Instant,
    sent: usize,
}

/// What a frame is.
enum Kind {
    /// Part of a call.
    Call,
    /// Asks for nothing.
    Idle,
    /// h2 has a limit of its own for it, or it is an error.
    Other,
}

impl Frames {
    /// After the preface.
    pub(super) fn new(now: Instant) -> Self {
        Self { head: [0; HEAD], known: 0, payload: 0, left: SAVED, since: now, sent: 0 }
    }

    /// Notes bytes that were sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        self.earn(u32::try_from(self.sent / BYTES).unwrap_or(u32::MAX));
        self.sent %= BYTES;
    }

    /// Looks at bytes from the client; false once it has sent too much that asks for nothing: then nothing more may come.
    pub(super) fn received(&mut self, mut bytes: &[u8], now: impl Fn() -> Instant) -> bool {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let more = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + more].copy_from_slice(&bytes[..more]);
            self.known += more;
            bytes = &bytes[more..];
            if self.known == HEAD {
                self.known = 0;
                self.payload =
                    usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
                if !self.weigh(&now) {
                    return false;
                }
            }
        }
        true
    }

    fn weigh(&mut self, now: impl Fn() -> Instant) -> bool {
        match kind(self.head[3], self.payload) {
            Kind::Call => self.earn(CALL),
            Kind::Other => {}
            Kind::Idle => {
                if self.left == 0 {
                    self.wait(now());
                }
                let Some(left) = self.left.checked_sub(1) else { return false };
                self.left = left;
            }
        }
        true
    }

    fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(SAVED);
    }

    /// What time has earned, looked up only when nothing is left.
    fn wait(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_nanos() / EACH.as_nanos();
        self.earn(u32::try_from(passed).unwrap_or(u32::MAX));
        self.since = now;
    }
}

/// By the frame's type (RFC 9113 §6).
fn kind(kind: u8, payload: usize) -> Kind {
    match kind {
        // DATA; empty ones are counted by h2.
        0 if payload > 0 => Kind::Call,
        // HEADERS: each is a call, with limits of its own.
        1 => Kind::Call,
        // Empty DATA, RST_STREAM, PUSH_PROMISE, CONTINUATION.
        0 | 3 | 5 | 9 => Kind::Other,
        // PRIORITY, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, and what HTTP/2 does not know.
        _ => Kind::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], &vec![0xff; payload]].concat()
    }

    /// How many of these frames pass.
    fn pass(frames: &mut Frames, kind: u8, payload: usize, most: u32, now: Instant) -> u32 {
        let one = frame(kind, payload);
        (0..most).take_while(|_| frames.received(&one, || now)).count().try_into().unwrap()
    }

    #[test]
    fn what_asks_for_nothing_runs_dry_whatever_it_is() {
        let now = Instant::now();
        for (kind, payload) in [(6, 8), (4, 0), (4, 6), (2, 5), (8, 4), (7, 8), (0xbe, 100)] {
            assert_eq!(pass(&mut Frames::new(now), kind, payload, SAVED + 9, now), SAVED, "{kind}");
        }
        for (kind, payload) in [(0, 1), (1, 30), (3, 4), (9, 9)] {
            assert_eq!(pass(&mut Frames::new(now), kind, payload, 2 * SAVED, now), 2 * SAVED, "{kind}");
        }
    }

    #[test]
    fn time_calls_and_answers_earn_more() {
        let start = Instant::now();
        let mut frames = Frames::new(start);
        assert_eq!(pass(&mut frames, 6, 0, u32::MAX, start), SAVED);
        assert_eq!(pass(&mut frames, 6, 0, u32::MAX, start + 7 * EACH), 7);
        assert!(frames.received(&frame(1, 3), || start) && frames.received(&frame(0, 3), || start));
        assert_eq!(pass(&mut frames, 6, 0, u32::MAX, start), 2 * CALL);
        (0..100).for_each(|_| frames.sent(16));
        assert_eq!(pass(&mut frames, 6, 0, u32::MAX, start), 25);
        frames.sent(usize::MAX >> 1);
        assert_eq!(pass(&mut frames, 6, 0, u32::MAX, start), SAVED, "nothing is saved up beyond");
    }

    #[test]
    fn a_thousand_a_second_go_on_for_ever() {
        let start = Instant::now();
        let mut frames = Frames::new(start);
        let ping = frame(6, 8);
        assert!((0..10 * SAVED).all(|n| frames.received(&ping, || start + n * EACH)));
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let now = Instant::now();
        let stream: Vec<u8> = (0..300).flat_map(|n| frame(if n % 3 == 0 { 6 } else { 3 }, n % 41)).collect();
        for piece in [1, 2, 8, 9, 10, 1000, stream.len()] {
            let mut frames = Frames::new(now);
            assert!(stream.chunks(piece).all(|bytes| frames.received(bytes, || now)));
            assert_eq!((frames.left, frames.payload, frames.known), (SAVED - 100, 0, 0), "{piece}");
        }
    }
}
