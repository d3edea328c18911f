//! Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats).

use std::{fmt::Write, sync::atomic::Ordering::Relaxed};

use super::{
    causes::{Denial, HandshakeFailure, Limit, Words},
    list::{self, Metric},
    tally::{BOUNDS, CODES, Sums},
};
use crate::{
    gateway::{methods::METHODS, serving::Shared},
    tokens::Scopes,
};

/// Its content type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything as it is now.
pub(super) fn text(shared: &Shared) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let sums = Sums::of(shared.tallies.iter().map(|tally| &**tally));
    about(&mut page, shared);
    calls(&mut page, &sums);
    connections(&mut page, &sums, shared);
    upstream(&mut page, shared);
    external(&mut page, shared);
    audit(&mut page, &sums, shared);
    warden(&mut page, shared);
    page.0
}

fn about(page: &mut Page, shared: &Shared) {
    let engine = serde_json::to_value(shared.hello.engine).ok();
    let engine = engine.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
    page.family(&list::INFO).sample(&[env!("CARGO_PKG_VERSION"), engine], 1);
    page.family(&list::SERVING).value(u8::from(shared.health.borrow().reason().is_none()));
}

fn calls(page: &mut Page, sums: &Sums) {
    let mut family = page.family(&list::CALLS);
    for (method, cells) in &sums.calls {
        let row = METHODS.get(*method);
        let method = row.map_or_else(|| "other".to_owned(), |row| format!("{}/{}", row.service, row.name));
        for (scopes, codes) in Scopes::sets().zip(cells) {
            let scope = if scopes.is_empty() { "none".to_owned() } else { scopes.to_string() };
            for (code, count) in CODES.iter().zip(codes).filter(|(_, count)| **count > 0) {
                family.sample(&[&method, code, &scope], count);
            }
        }
    }
    page.family(&list::DENIALS).words::<Denial>(&sums.denials);
    page.family(&list::OPEN_STREAMS).value(sums.open);
    page.family(&list::ADDED).histogram(&sums.added, sums.added_nanos);
    page.family(&list::REQUEST_BYTES).value(sums.request_bytes);
    page.family(&list::RESPONSE_BYTES).value(sums.response_bytes);
}

fn connections(page: &mut Page, sums: &Sums, shared: &Shared) {
    page.family(&list::CONNECTIONS).value(shared.places.taken());
    page.family(&list::ACCEPTED).value(sums.accepted);
    page.family(&list::HANDSHAKES_FAILED).words::<HandshakeFailure>(&sums.handshakes);
    page.family(&list::LIMITS).words::<Limit>(&sums.limits);
}

fn upstream(page: &mut Page, shared: &Shared) {
    let (up, probed) = {
        let health = shared.health.borrow();
        (health.probe.is_ok(), health.probed_ms / 1000)
    };
    page.family(&list::UPSTREAM_UP).value(u8::from(up));
    page.family(&list::UPSTREAM_PROBED).value(probed);
    page.family(&list::UPSTREAM_CONNECTIONS).value(shared.pools.iter().map(|pool| pool.connections()).sum::<usize>());
    let failures = shared.pools.iter().map(|pool| pool.dials_failed.load(Relaxed)).sum::<u64>();
    page.family(&list::UPSTREAM_DIAL_FAILURES).value(failures);
}

/// The external issuer.
fn external(page: &mut Page, shared: &Shared) {
    let serving = shared.serving.load();
    let keys = serving.authenticator.external().and_then(|(_, keys)| keys.map(|keys| keys.kids().len()));
    page.family(&list::EXTERNAL_KEYS).value(keys.unwrap_or_default());
    let issuer = shared.issuer.as_deref();
    page.family(&list::EXTERNAL_FETCHED).value(issuer.map_or(0, |issuer| issuer.fetched_ms() / 1000));
    let mut family = page.family(&list::EXTERNAL_FETCHES);
    for (outcome, count) in ["ok", "failed"].iter().zip(issuer.iter().flat_map(|issuer| &issuer.fetches)) {
        family.sample(&[outcome], count.load(Relaxed));
    }
}

fn audit(page: &mut Page, sums: &Sums, shared: &Shared) {
    let failing = shared.health.borrow().audit.is_some();
    page.family(&list::AUDIT_FAILING).value(u8::from(failing));
    // Every call in flight holds a place of its own for its record.
    page.family(&list::AUDIT_LAG).value((shared.recorder.taken() as u64).saturating_sub(sums.open));
    page.family(&list::AUDIT_LOST).value(shared.recorder.lost());
}

/// What PID 1 says of itself and its files.
fn warden(page: &mut Page, shared: &Shared) {
    page.family(&list::MATERIAL).value(*shared.version.borrow());
    let snapshot = shared.snapshot.borrow().clone();
    page.family(&list::GENERATION).value(snapshot.generation);
    page.family(&list::CERTIFICATE_EXPIRY).named(&snapshot.certificates);
    page.family(&list::TOKEN_EXPIRY).named(&snapshot.tokens);
    let children = || snapshot.children.iter();
    let up: Vec<_> = children().map(|child| (child.name.clone(), i64::from(child.up))).collect();
    page.family(&list::CHILD_UP).named(&up);
    let restarts: Vec<_> = children().map(|child| (child.name.clone(), i64::from(child.restarts))).collect();
    page.family(&list::CHILD_RESTARTS).named(&restarts);
}

struct Page(String);

/// The samples of one metric.
struct Family<'a> {
    page: &'a mut String,
    metric: &'static Metric,
}

impl Page {
    fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, kind) = (metric.name, metric.kind.word());
        let help = metric.help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, metric }
    }
}

impl Family<'_> {
    fn value(&mut self, value: impl std::fmt::Display) {
        self.sample(&[], value);
    }

    fn sample(&mut self, labels: &[&str], value: impl std::fmt::Display) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.page.push_str(self.metric.name);
        let pairs = self.metric.labels.iter().zip(labels);
        self.labels(pairs.map(|(name, value)| (*name, *value)));
        let _ = writeln!(self.page, " {value}");
    }

    fn labels<'b>(&mut self, pairs: impl Iterator<Item = (&'b str, &'b str)>) {
        let mut open = '{';
        for (name, value) in pairs {
            let _ = write!(self.page, "{open}{name}=\"{}\"", escaped(value));
            open = ',';
        }
        if open == ',' {
            self.page.push('}');
        }
    }

    /// A sample per word: a rate needs the zero before the first count.
    fn words<T: Words>(&mut self, counts: &[u64]) {
        for (value, count) in T::ALL.iter().zip(counts) {
            self.sample(&[value.word()], count);
        }
    }

    fn named(&mut self, samples: &[(String, i64)]) {
        for (name, value) in samples {
            self.sample(&[name], value);
        }
    }

    fn histogram(&mut self, buckets: &[u64], nanos: u64) {
        let (name, mut below) = (self.metric.name, 0);
        #[allow(clippy::cast_precision_loss, reason = "seconds are shown, not computed with")]
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let bounds = BOUNDS.iter().map(|micros| seconds(micros * 1000).to_string()).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(buckets) {
            below += count;
            let _ = writeln!(self.page, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(self.page, "{name}_sum {}\n{name}_count {below}", seconds(nanos));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
