//! One operation from its first header to its record: whatever happens to it, exactly one record is written.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use time::OffsetDateTime;

use super::{
    audit::{self, Principal, Record, Slot, Written},
    glimpse::Glimpse,
    guest::{Guest, Seat},
    methods::Method,
    metrics::{Denial, Limit},
    namespace::{Namespace, Reading},
    reply::status,
    running::Stay,
};
use crate::tokens::{Scopes, Verified};

/// What is being done, by whom, and the place of its record.
///
/// Dropped before it was finished, the client is gone: it is recorded as cancelled.
pub(super) struct Operation {
    slot: Option<Slot>,
    guest: Arc<Guest>,
    seat: Option<Seat>,
    row: Option<usize>,
    token: Option<Arc<Verified>>,
    service: Cow<'static, str>,
    method: Cow<'static, str>,
    user_agent: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
    reason: Option<String>,
    glimpse: Option<Glimpse>,
    stay: Option<Stay>,
    denied: bool,
    began: OffsetDateTime,
    since: Instant,
    /// Time in the gateway's own hands until the upstream had the request; `None` = it never had it.
    own: Option<Duration>,
    finished: Option<Instant>,
    /// Counted by the pump of the request.
    pub request_bytes: Arc<AtomicU64>,
    /// Counted by the relay of the answer.
    pub response_bytes: u64,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// With this gRPC status.
    Grpc(u32),
    /// With this HTTP status.
    Http(u16),
    /// Before there was a status: a handshake.
    None,
}

impl Operation {
    /// Begins: `service` and `method` as they stand in the record. On the heap: it goes from hand to hand.
    pub(super) fn new(
        slot: Slot,
        guest: Arc<Guest>,
        (service, method): (Cow<'static, str>, Cow<'static, str>),
        headers: &HeaderMap,
        now: OffsetDateTime,
    ) -> Box<Self> {
        Box::new(Self {
            slot: Some(slot),
            guest,
            seat: None,
            row: None,
            token: None,
            service,
            method,
            user_agent: headers.get(USER_AGENT).cloned(),
            traceparent: headers.get("traceparent").cloned(),
            reason: None,
            glimpse: None,
            stay: None,
            denied: false,
            began: now,
            since: Instant::now(),
            own: None,
            finished: None,
            request_bytes: Arc::default(),
            response_bytes: 0,
        })
    }

    /// Makes it a gRPC call of the row with this number in the table: it is counted, and holds its place.
    pub(super) fn counts(&mut self, seat: Seat, row: Option<usize>) {
        (self.seat, self.row) = (Some(seat), row);
    }

    /// Notes that the upstream has the request, for which it was waited from `asked` to `ready`.
    pub(super) fn sent(&mut self, asked: Instant, ready: Instant) {
        self.own = Some(self.since.elapsed().saturating_sub(ready - asked));
    }

    /// Notes that the end of the answer goes out.
    pub(super) fn answered(&self) {
        if let (Some(own), Some(finished)) = (self.own, self.finished) {
            self.guest.tally.added(own + finished.elapsed());
        }
    }

    /// Names the caller.
    pub(super) fn called_by(&mut self, token: Option<Arc<Verified>>) {
        self.token = token;
    }

    /// Lets the record name what a call of `row` is about.
    pub(super) fn reads(&mut self, row: Option<&'static Method>, headers: &HeaderMap) {
        self.glimpse = row.and_then(|row| Glimpse::of(row, headers));
    }

    /// Lets the record name what was read of the request ahead.
    pub(super) fn was_read(&mut self, reading: Reading) {
        if let Some(glimpse) = &mut self.glimpse {
            glimpse.tell(reading);
        }
    }

    /// For the pump of the request.
    pub(super) fn glimpse(&self) -> Option<Glimpse> {
        self.glimpse.clone()
    }

    /// Keeps the call's place among those under way.
    pub(super) fn stays(&mut self, stay: Stay) {
        self.stay = Some(stay);
    }

    /// That place; `None` for a call without a token that is no long poll.
    pub(super) fn stay(&self) -> Option<&Stay> {
        self.stay.as_ref()
    }

    /// Notes why it was refused or broken off; the last reason stands.
    pub(super) fn because(&mut self, reason: impl ToString) {
        self.reason = Some(reason.to_string());
    }

    /// The connection it came over.
    pub(super) fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }

    /// Counts a limit that it ran into.
    pub(super) fn hit(&self, limit: Limit) {
        self.guest.tally.hit(limit);
    }

    /// Notes that it was refused.
    pub(super) fn denied(&mut self, class: Denial, reason: impl ToString) {
        self.denied = true;
        self.guest.tally.denied(class);
        self.because(reason);
    }

    /// Notes that a handshake failed: refused before there was a call.
    pub(super) fn broken(&mut self, reason: impl ToString) {
        self.denied = true;
        self.because(reason);
    }

    /// Hands the record over; `None` when that was done before.
    pub(super) fn finish(&mut self, end: End) -> Option<Written> {
        let slot = self.slot.take()?;
        let now = Instant::now();
        self.finished = Some(now);
        if let (Some(_), End::Grpc(code)) = (&self.seat, end) {
            let scopes = self.token.as_ref().map_or_else(Scopes::default, |token| token.all_scopes());
            let bytes = (self.request_bytes.load(Ordering::Relaxed), self.response_bytes);
            self.guest.tally.called(self.row, code, scopes, bytes);
        }
        Some(slot.record(&self.record(end, now - self.since)))
    }

    fn record(&self, end: End, took: Duration) -> Record<'_> {
        let (grpc_status, http_status) = match end {
            End::Grpc(code) => (Some(code), None),
            End::Http(code) => (None, Some(code)),
            End::None => (None, None),
        };
        let read = self.glimpse.as_ref().and_then(Glimpse::told);
        let namespace = read.and_then(|read| match &read.namespace {
            Namespace::Found(name) => Some(shortened(name)),
            _ => None,
        });
        Record {
            time: audit::timestamp(self.began),
            id: audit::id(self.began),
            writer: "gateway",
            service: shortened(&self.service),
            method: shortened(&self.method),
            namespace,
            workflow_id: read.and_then(|read| read.workflow_id.as_deref()).map(shortened),
            principal: self.principal(),
            peer: &self.guest.peer.words,
            user_agent: self.user_agent.as_ref().and_then(|value| value.to_str().ok()).map(shortened),
            decision: if self.denied { "deny" } else { "allow" },
            reason: self.reason.as_deref().map(|reason| shortened(reason).into()),
            grpc_status,
            http_status,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            request_bytes: self.request_bytes.load(Ordering::Relaxed),
            response_bytes: self.response_bytes,
            trace_id: self.traceparent.as_ref().and_then(trace_id),
            count: None,
        }
    }

    fn principal(&self) -> Principal<'_> {
        let (token, certificate) = (self.token.as_deref(), self.guest.peer.identity.as_deref());
        let subject = certificate.map(|certificate| shortened(&certificate.subject));
        Principal {
            sub: token.map(|token| token.sub.as_str()).or(subject),
            scope: token.map(|token| token.held()),
            jti: token.map(|token| token.jti.as_str()),
            kid: token.map(|token| token.kid.as_str()),
            iss: token.and_then(|token| token.issuer.as_deref()),
            cert_subject: subject,
            cert_serial: certificate.map(|certificate| certificate.serial.as_str()),
            cert_sha256: certificate.map(|certificate| certificate.sha256.as_str()),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.slot.is_some() {
            let why = || match self.guest.farewell() {
                Some(farewell) => format!("its connection was ended: {}", farewell.why),
                None => "cancelled by the client".to_owned(),
            };
            self.reason.get_or_insert_with(why);
            self.finish(End::Grpc(status::CANCELLED));
        }
    }
}

/// Characters of a text that a record repeats: as many as Temporal allows a name by default.
const LONGEST: usize = 1000;

/// At most so much of a text that a record's size has a bound whatever a client sends.
fn shortened(name: &str) -> &str {
    if name.len() <= LONGEST {
        return name; // no text has more characters than bytes
    }
    name.char_indices().nth(LONGEST).map_or(name, |(end, _)| &name[..end])
}

/// The trace id of a W3C `traceparent`: `00-` 32 hex digits `-`…
pub(super) fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_after_a_thousand_characters_and_never_within_one() {
        let (fits, long) = ("ß".repeat(LONGEST), "ß".repeat(LONGEST + 1));
        assert_eq!((shortened(&fits), shortened(&long)), (&*fits, &*fits));
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn the_trace_id_is_the_second_part_of_a_traceparent() {
        let sent = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace_id(&sent), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(trace_id(&HeaderValue::from_static("00-short-b7ad-01")), None);
    }
}
