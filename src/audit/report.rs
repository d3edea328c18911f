//! A time of the log by who did what: refusals first.

use std::{cmp::Reverse, collections::HashMap, net::SocketAddr};

use super::Entry;

/// Pairs of who and what that are told apart; further ones are one, for a client can invent methods without end.
const PAIRS: usize = 10_000;
/// What they are called.
const OTHERS: &str = "others";

/// Who did what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// `sub` of the token, subject of the certificate, or address.
    pub who: String,
    /// gRPC service, `http`, `tls` or `warden`.
    pub service: String,
    /// Method.
    pub method: String,
}

/// How often, and when last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations.
    pub count: u64,
    /// Of these, answered with a status that is no success.
    pub failed: u64,
    /// When the last one began, RFC 3339.
    pub last: String,
    /// Why the last one was refused or broken off.
    pub reason: Option<String>,
}

/// What is added up.
#[derive(Debug, Default)]
pub struct Report {
    denied: HashMap<Pair, Tally>,
    allowed: HashMap<Pair, Tally>,
}

impl Report {
    /// Adds a record; in whatever order they come.
    pub fn add(&mut self, entry: &Entry) {
        let table = if entry.decision == "deny" { &mut self.denied } else { &mut self.allowed };
        let mut pair = Pair { who: party(entry), service: entry.service.clone(), method: entry.method.clone() };
        if table.len() >= PAIRS && !table.contains_key(&pair) {
            pair = Pair { who: OTHERS.to_owned(), service: OTHERS.to_owned(), method: OTHERS.to_owned() };
        }
        let tally = table.entry(pair).or_default();
        let count = entry.count.unwrap_or(1);
        tally.count = tally.count.saturating_add(count);
        let failed =
            entry.grpc_status.is_some_and(|code| code != 0) || entry.http_status.is_some_and(|code| code >= 400);
        tally.failed = tally.failed.saturating_add(if failed { count } else { 0 });
        // Times of one log are written in one way, so that text order is their order.
        if tally.last <= entry.time {
            tally.last.clone_from(&entry.time);
            tally.reason.clone_from(&entry.reason);
        }
    }

    /// What was refused, the most frequent first.
    pub fn denied(&self) -> Vec<(&Pair, &Tally)> {
        sorted(&self.denied, |pair, tally| (Reverse(tally.count), pair.clone()))
    }

    /// What was allowed, by who, the most frequent first.
    pub fn allowed(&self) -> Vec<(&Pair, &Tally)> {
        sorted(&self.allowed, |pair, tally| (pair.who.clone(), Reverse(tally.count), pair.clone()))
    }

    /// Operations refused and allowed.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |table: &HashMap<Pair, Tally>| table.values().map(|tally| tally.count).fold(0, u64::saturating_add);
        (sum(&self.denied), sum(&self.allowed))
    }
}

fn sorted<K: Ord>(table: &HashMap<Pair, Tally>, by: impl Fn(&Pair, &Tally) -> K) -> Vec<(&Pair, &Tally)> {
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(pair, tally)| by(pair, tally));
    rows
}

/// Who asked; of an address without a name not the port, which is another each time.
fn party(entry: &Entry) -> String {
    let who = entry.who();
    who.parse::<SocketAddr>().map_or_else(|_| who.to_owned(), |address| address.ip().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: u32, sub: Option<&str>, method: &str, decision: &str, status: u32) -> Entry {
        let sub = sub.map_or_else(|| "{}".to_owned(), |sub| format!(r#"{{"sub":"{sub}"}}"#));
        let line = format!(
            r#"{{"time":"2026-11-25T10:00:{second:02}.000000Z","service":"s","method":"{method}","principal":{sub},
            "peer":"10.0.0.9:4{second:02}","decision":"{decision}","reason":"at {second}","grpc_status":{status}}}"#
        );
        Entry::parse(line.as_bytes()).unwrap()
    }

    fn said(rows: &[(&Pair, &Tally)]) -> Vec<String> {
        rows.iter()
            .map(|(pair, tally)| format!("{} {} {}/{}", pair.who, pair.method, tally.failed, tally.count))
            .collect()
    }

    #[test]
    fn records_are_added_up_by_who_and_what_in_any_order() {
        let mut report = Report::default();
        let app = Some("app");
        for entry in [
            entry(9, app, "Start", "allow", 0),
            entry(8, app, "Start", "allow", 14),
            entry(7, app, "Delete", "deny", 7),
            entry(5, None, "handshake", "deny", 0),
            entry(6, None, "handshake", "deny", 0),
            entry(4, app, "Delete", "deny", 7),
            entry(3, app, "Delete", "deny", 7),
            entry(2, app, "List", "allow", 0),
            entry(1, Some("a"), "List", "allow", 0),
        ] {
            report.add(&entry);
        }
        assert_eq!(said(&report.denied()), ["app Delete 3/3", "10.0.0.9 handshake 0/2"]);
        assert_eq!(said(&report.allowed()), ["a List 0/1", "app Start 1/2", "app List 0/1"]);
        assert_eq!(report.totals(), (5, 4));
        let newest: Vec<_> = report.denied().iter().map(|(_, tally)| tally.reason.clone().unwrap()).collect();
        assert_eq!(newest, ["at 7", "at 6"]);
    }

    #[test]
    fn a_record_that_stands_for_many_counts_for_them() {
        let mut report = Report::default();
        report.add(&Entry { count: Some(284), ..entry(1, None, "handshake", "deny", 0) });
        report.add(&entry(2, None, "handshake", "deny", 0));
        assert_eq!(report.totals(), (285, 0));
    }

    #[test]
    fn invented_methods_do_not_grow_it_without_end() {
        let mut report = Report::default();
        for n in 0..PAIRS + 50 {
            report.add(&entry(1, Some("app"), &format!("Invented{n}"), "deny", 16));
        }
        assert_eq!((report.denied().len(), report.totals().0), (PAIRS + 1, PAIRS as u64 + 50));
        assert_eq!(said(&report.denied()[..1]), ["others others 50/50"]);
    }
}
