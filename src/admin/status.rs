//! The status document: one screen that answers "is it safe, is it serving, what happens next".

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::sight;
use crate::{
    config::EngineKind,
    docker::{Holder, Use},
    gateway::link::{Health, IssuerSight},
    rotation::Artefact,
};

/// What `temporal-warden status --json` prints. Fields are added, never renamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running warden.
    pub version: String,
    /// Whether `/health` says SERVING.
    pub serving: bool,
    /// Why not; empty when serving.
    pub reason: String,
    /// Where the start is; `None` once all is up.
    #[serde(default)]
    pub starting: Option<Starting>,
    /// What answers behind the gateway.
    pub engine: EngineKind,
    /// What is less safe than it could be, in words.
    pub warnings: Vec<String>,
    /// Generation of the certificate folder that serves.
    pub generation: u64,
    /// Every child of PID 1.
    pub children: Vec<Child>,
    /// The gateway's own report.
    pub gateway: Health,
    /// Certificates, keys and tokens.
    pub artefacts: Vec<Artefact>,
    /// Why dependents could not be told yet; `None` = all were.
    #[serde(default)]
    pub dependents_pending: Option<String>,
    /// What each service holds, by what the gateway sees of it.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// Who connects by which CA.
    #[serde(default)]
    pub authorities: Vec<Use>,
    /// Each bundle: published where, or why not.
    pub bundles: Vec<Bundle>,
    /// Log lines lost since the start because nobody read them in time.
    #[serde(default)]
    pub lost_log_lines: u64,
}

/// Where a start is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// What is done or waited for.
    pub doing: String,
    /// How long this stage goes on.
    pub seconds: u64,
    /// Of a stage of counted steps: which one.
    pub step: Option<u32>,
    /// How many there are.
    pub of: Option<u32>,
}

/// A child of PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// waiting, starting, ready, backoff, stopping, stopped or gave-up.
    pub state: String,
    /// Its process, while it has one.
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Since when it is in this state.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// How its last process ended.
    pub last_exit: Option<String>,
}

/// A bundle of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Its name: client, worker, postgres, ui.
    pub name: String,
    /// "published" or why not.
    pub state: String,
    /// Whether it was tried and failed: its consumer has old material or none.
    pub failed: bool,
}

/// The document as a person reads it.
pub fn render(status: &Status, now: OffsetDateTime) -> String {
    let mut out = String::new();
    let state = match &status.starting {
        Some(at) => format!("NOT_SERVING: starting: {}, {} s", at.doing, at.seconds),
        None if status.serving => "SERVING".to_owned(),
        None => format!("NOT_SERVING: {}", status.reason),
    };
    let _ = writeln!(out, "temporal-warden {} · engine {} · {state}", status.version, engine_name(status.engine));
    for warning in &status.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    render_children(&mut out, &status.children, now);
    render_gateway(&mut out, &status.gateway);
    if let Some(issuer) = &status.gateway.issuer {
        render_issuer(&mut out, issuer, now);
    }
    let _ = writeln!(out, "\ncertificates and tokens (generation {}):", status.generation);
    render_artefacts(&mut out, &status.artefacts, now);
    let _ = writeln!(out, "\nfor other containers:");
    for bundle in &status.bundles {
        let state = bundle.state.replacen(&format!("bundle {} ", bundle.name), "", 1);
        let _ = writeln!(out, "  {:<10} {state}", bundle.name);
    }
    if status.lost_log_lines > 0 {
        let _ = writeln!(out, "\nlog lines lost because nobody read them in time: {}", status.lost_log_lines);
    }
    sight::render(&mut out, &status.holders, &status.authorities, now);
    if let Some(why) = &status.dependents_pending {
        let _ = writeln!(out, "\ndependents wait: {why}");
    }
    out
}

fn render_issuer(out: &mut String, issuer: &IssuerSight, now: OffsetDateTime) {
    let _ = writeln!(out, "\nexternal issuer {}: {}", issuer.issuer, issuer.words(now));
    if !issuer.error.is_empty() {
        let _ = writeln!(out, "  last fetch failed: {}", issuer.error);
    }
    if !issuer.keys.is_empty() {
        let _ = writeln!(out, "  keys {}", issuer.keys.join(", "));
    }
}

/// Name of an engine as `WARDEN_ENGINE` spells it.
pub fn engine_name(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Server => "server",
        EngineKind::Dev => "dev",
        EngineKind::External => "external",
    }
}

/// A table of artefacts: how long each lives, when the warden does something about it by itself, what is wrong with it.
pub fn render_artefacts(out: &mut String, artefacts: &[Artefact], now: OffsetDateTime) {
    let width = artefacts.iter().map(|a| a.name.chars().count()).max().unwrap_or(0).max(4);
    let row = |[name, life, end, due, state]: [&str; 5]| {
        format!("  {name:<width$}  {life:<9}  {end:<10}  {due:<10}  {state}\n")
    };
    *out += &row(["FILE", "LEFT", "ENDS", "DUE", "STATE"]);
    for a in artefacts {
        let date = |at: Option<OffsetDateTime>| at.map_or_else(|| "-".to_owned(), |at| at.date().to_string());
        let life = a.not_after.map_or_else(|| "-".to_owned(), |at| short(at - now));
        *out += &row([&a.name, &life, &date(a.not_after), &date(a.renew_at), a.state.word()]);
        for words in a.detail.iter().chain(&a.fix) {
            let _ = writeln!(out, "    {words}");
        }
    }
}

/// The door, what stands behind it, and the record of both.
fn render_gateway(out: &mut String, gateway: &Health) {
    let Health { connections, calls, denied, upstream_detail, .. } = gateway;
    let _ = writeln!(out, "\ngateway:  {connections} connections, {calls} calls, {denied} denied");
    if !gateway.reported {
        return;
    }
    let database = match gateway.upstream_ok {
        true => "a call that reads it succeeds".to_owned(),
        false => format!("NOT READ: {upstream_detail}"),
    };
    let record = if gateway.audit_ok { "every call is recorded" } else { "CANNOT BE WRITTEN" };
    let _ = writeln!(out, "database: {database}\naudit:    {record}");
}

fn render_children(out: &mut String, children: &[Child], now: OffsetDateTime) {
    let _ = writeln!(out);
    for c in children {
        let pid = c.pid.map_or_else(|| "-".to_owned(), |p| p.to_string());
        let since = short(now - c.since);
        let last = c.last_exit.as_deref().map(|e| format!(", last exit: {e}")).unwrap_or_default();
        let _ =
            writeln!(out, "  {:<10} {:<9} pid {pid:<6} for {since}, {} restarts{last}", c.name, c.state, c.restarts);
    }
}

impl IssuerSight {
    /// What is at hand, in words.
    pub fn words(&self, now: OffsetDateTime) -> String {
        let moment = |ms: i64| OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap_or(now);
        match (self.fetched_ms, self.keys.len()) {
            (0, 0) => format!("no keys yet, from {}", self.source),
            (0, count) => format!("{count} keys from {}", self.source),
            (at, 0) => {
                format!("its keys are too old: last fetched {} ago from {}", short(now - moment(at)), self.source)
            }
            (at, count) => {
                let (ago, left) = (short(now - moment(at)), short(moment(self.stale_at_ms) - now));
                format!("{count} keys, fetched {ago} ago from {}, good for {left} without it", self.source)
            }
        }
    }
}

/// "89d 23h", "3h 12m", "45s": two units at most.
pub fn short(span: time::Duration) -> String {
    let s = span.whole_seconds().max(0);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::State;

    #[test]
    fn spans_are_short_and_never_negative() {
        let shown: Vec<_> =
            [-5, 45, 125, 11_520, 7_772_400].map(|s| short(time::Duration::seconds(s))).into_iter().collect();
        assert_eq!(shown, ["0s", "45s", "2m 5s", "3h 12m", "89d 23h"]);
    }

    fn artefact(name: &str, state: State, end: OffsetDateTime) -> Artefact {
        let (not_after, renew_at) = (Some(end), Some(end - time::Duration::days(30)));
        let none = None::<String>;
        Artefact {
            name: name.to_owned(),
            path: name.into(),
            state,
            not_before: None,
            not_after,
            renew_at,
            subject: none.clone(),
            serial: none.clone(),
            sha256: none.clone(),
            detail: none,
            fix: Some("make it anew".to_owned()),
        }
    }

    #[test]
    fn an_issuer_says_how_long_its_keys_go_on_without_it() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
        let ms = |ago: i64| (now.unix_timestamp() - ago) * 1000;
        let sight = IssuerSight {
            source: "https://id/keys".to_owned(),
            keys: vec!["a".to_owned()],
            fetched_ms: ms(125),
            stale_at_ms: ms(-3600),
            ..IssuerSight::default()
        };
        assert_eq!(sight.words(now), "1 keys, fetched 2m 5s ago from https://id/keys, good for 1h 0m without it");
        let gone = IssuerSight { keys: Vec::new(), ..sight };
        assert!(gone.words(now).starts_with("its keys are too old"));
        assert!(IssuerSight { fetched_ms: 0, ..gone }.words(now).starts_with("no keys yet"));
    }

    #[test]
    fn each_artefact_says_how_long_it_lives_and_when_it_is_renewed_and_what_to_do() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(40);
        let mut out = String::new();
        let ends = [now - time::Duration::days(1), now + time::Duration::hours(3)];
        render_artefacts(
            &mut out,
            &[artefact("a", State::Expired, ends[0]), artefact("long", State::Due, ends[1])],
            now,
        );
        let expected = "  FILE  LEFT       ENDS        DUE         STATE
  a     0s         1970-02-09  1970-01-10  EXPIRED
    make it anew
  long  3h 0m      1970-02-10  1970-01-11  renewal due
    make it anew
";
        assert_eq!(out, expected);
    }
}
