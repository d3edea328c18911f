//! Failed handshakes by source address. The first are recorded one by one; from an address that goes on without end,
//! such as a port scanner's, what is above the limit is counted and recorded as a sum, so that it cannot push what
//! others did out of the audit log.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    audit::{self, Principal, Record, Recorder},
    metrics::HandshakeFailure,
    serving::Shared,
};

/// Failed handshakes of one address that may go on record at once: more than a fleet behind one address has in an
/// incident before somebody looks.
const AT_ONCE: u32 = 1000;
/// And one more each time this has passed. An SDK that may not connect tries again some seconds apart.
const ONE_MORE: Duration = Duration::from_secs(1);
/// How often what was left out is recorded as a sum.
const SUM_UP: Duration = Duration::from_secs(10);
/// Addresses told apart at once; further ones are one.
const ADDRESSES: usize = 10_000;

/// Who knocks: an IPv4 address, or the /64 that one IPv6 host has for itself; `None` is every other.
type From = Option<IpAddr>;

/// All of them.
#[derive(Default)]
pub(super) struct Knocks {
    by_address: Mutex<HashMap<From, Address>>,
}

/// One address.
struct Address {
    /// When all its places are free again, if nothing more comes (GCRA, ITU-T I.371).
    free: Instant,
    left_out: Option<LeftOut>,
}

/// What was not recorded one by one.
#[derive(Debug, PartialEq)]
struct LeftOut {
    since: OffsetDateTime,
    began: Instant,
    by: BTreeMap<&'static str, u64>,
}

impl Knocks {
    /// Whether this failed handshake goes on record by itself; if not it is in the next sum.
    pub(super) fn admit(&self, address: IpAddr, why: HandshakeFailure, now: Instant, wall: OffsetDateTime) -> bool {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = Some(network(address));
        if by_address.len() >= ADDRESSES && !by_address.contains_key(&from) {
            from = None;
        }
        let known = by_address.entry(from).or_insert(Address { free: now, left_out: None });
        let free = known.free.max(now) + ONE_MORE;
        if free - now <= AT_ONCE * ONE_MORE {
            known.free = free;
            return true;
        }
        let fresh = || LeftOut { since: wall, began: now, by: BTreeMap::new() };
        *known.left_out.get_or_insert_with(fresh).by.entry(why.word()).or_default() += 1;
        false
    }

    /// The next sum; addresses that have been quiet for long enough are forgotten.
    fn next(&self, now: Instant) -> Option<(From, LeftOut)> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        by_address.retain(|_, known| known.left_out.is_some() || known.free > now);
        by_address.iter_mut().find_map(|(from, known)| Some((*from, known.left_out.take()?)))
    }

    /// Records all sums there are. While the log takes nothing they go on adding up.
    pub(super) async fn sum_up(&self, recorder: &Recorder) {
        while let Ok(slot) = recorder.reserve().await {
            let now = Instant::now();
            let Some((from, left_out)) = self.next(now) else { return };
            drop(slot.record(&left_out.record(&said(from), now)));
        }
    }
}

/// Sums up for ever.
pub(super) async fn attend(shared: Arc<Shared>) {
    let mut ticks = interval(SUM_UP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.knocks.sum_up(&shared.recorder).await;
    }
}

impl LeftOut {
    fn record<'a>(&self, from: &'a str, now: Instant) -> Record<'a> {
        let count = self.by.values().sum();
        let each: Vec<_> = self.by.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let each = each.join(", ");
        Record {
            time: audit::timestamp(self.since),
            id: audit::id(self.since),
            writer: "gateway",
            service: "tls",
            method: "handshake",
            namespace: None,
            workflow_id: None,
            principal: Principal::default(),
            peer: from,
            user_agent: None,
            decision: "deny",
            reason: Some(
                format!("{count} more handshakes failed from {from}, too many to record one by one: {each}").into(),
            ),
            grpc_status: None,
            http_status: None,
            duration_us: u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX),
            request_bytes: 0,
            response_bytes: 0,
            trace_id: None,
            count: Some(count),
        }
    }
}

/// What one host has for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

fn said(from: From) -> String {
    match from {
        Some(IpAddr::V6(network)) => format!("{network}/64"),
        Some(address) => address.to_string(),
        None => "other addresses".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const WHY: HandshakeFailure = HandshakeFailure::NotTls;

    fn admitted(knocks: &Knocks, address: &str, times: u32, now: Instant) -> usize {
        let address = address.parse().unwrap();
        (0..times).filter(|_| knocks.admit(address, WHY, now, WALL)).count()
    }

    #[test]
    fn an_address_has_its_places_at_once_and_one_more_each_second() {
        let (knocks, start) = (Knocks::default(), Instant::now());
        assert_eq!(admitted(&knocks, "10.0.0.1", AT_ONCE + 50, start), AT_ONCE as usize);
        assert_eq!(admitted(&knocks, "10.0.0.2", 10, start), 10, "another is not the worse for it");
        assert_eq!(admitted(&knocks, "10.0.0.1", 50, start + 7 * ONE_MORE), 7);
        let (from, left_out) = knocks.next(start + 8 * ONE_MORE).unwrap();
        let from = said(from);
        let record = left_out.record(&from, start + 8 * ONE_MORE);
        assert_eq!((record.count, record.duration_us, record.peer), (Some(93), 8_000_000, "10.0.0.1"));
        let expected = "93 more handshakes failed from 10.0.0.1, too many to record one by one: 93 not_tls";
        assert_eq!(record.reason.as_deref(), Some(expected));
        assert_eq!(knocks.next(start), None, "each is in one sum");
    }

    #[test]
    fn a_quiet_address_is_forgotten_and_one_with_an_open_sum_is_not() {
        let (knocks, start) = (Knocks::default(), Instant::now());
        admitted(&knocks, "10.0.0.1", 1, start);
        admitted(&knocks, "10.0.0.2", AT_ONCE + 1, start);
        let late = start + 2 * AT_ONCE * ONE_MORE;
        assert_eq!(knocks.next(late).unwrap().0, "10.0.0.2".parse().ok());
        assert_eq!((knocks.next(late), knocks.by_address.lock().unwrap().len()), (None, 0));
    }

    #[test]
    fn a_host_cannot_multiply_itself_by_its_ipv6_addresses_or_without_end() {
        let (knocks, now) = (Knocks::default(), Instant::now());
        let of_one_host =
            (0..AT_ONCE + 9).filter(|n| knocks.admit(format!("2001:db8::{n:x}").parse().unwrap(), WHY, now, WALL));
        assert_eq!(of_one_host.count(), AT_ONCE as usize);
        assert_eq!(said(knocks.next(now).unwrap().0), "2001:db8::/64");
        for n in 0..2 * ADDRESSES as u32 {
            knocks.admit(IpAddr::V4((0x0a00_0000 + n).into()), WHY, now, WALL);
        }
        assert_eq!(knocks.by_address.lock().unwrap().len(), ADDRESSES + 1);
        assert_eq!(said(knocks.next(now).unwrap().0), "other addresses");
    }
}
