//! What a reader of the log asks for, and a record as a person reads it.

use std::{io, ops::ControlFlow};

use serde::Deserialize;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{backward::Backward, json::is_unsafe};

/// Records end in the order of the file, up to this.
const DISORDER: Duration = Duration::seconds(10);

/// The parts of a record that are asked about or shown; others stay in the line.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Entry {
    /// When it began, RFC 3339.
    pub time: String,
    /// gRPC service, `http`, `tls` or `warden`.
    #[serde(default)]
    pub service: String,
    /// Method.
    #[serde(default)]
    pub method: String,
    /// Namespace, if it has one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Workflow, if it is about one.
    #[serde(default)]
    pub workflow_id: Option<String>,
    /// Who asked.
    #[serde(default)]
    pub principal: Principal,
    /// From where.
    #[serde(default)]
    pub peer: String,
    /// `allow` or `deny`.
    #[serde(default)]
    pub decision: String,
    /// Why, or what came of it.
    #[serde(default)]
    pub reason: Option<String>,
    /// gRPC status.
    #[serde(default)]
    pub grpc_status: Option<u32>,
    /// HTTP status.
    #[serde(default)]
    pub http_status: Option<u16>,
    /// How many operations it stands for, where it is not one.
    #[serde(default)]
    pub count: Option<u64>,
    /// Microseconds it took.
    #[serde(default)]
    pub duration_us: u64,
}

/// Who asked.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Principal {
    /// Subject of the token.
    #[serde(default)]
    pub sub: Option<String>,
    /// Subject of the certificate.
    #[serde(default)]
    pub cert_subject: Option<String>,
}

/// Which records are wanted; empty = all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Subject of the token or of the certificate, whole.
    pub principal: Option<String>,
    /// Part of `service/method`, in any case.
    pub method: Option<String>,
    /// `allow` or `deny`.
    pub decision: Option<String>,
    /// Begun at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Begun before this time.
    pub until: Option<OffsetDateTime>,
}

impl Entry {
    /// A line as a record; `None` for what is none.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When it began.
    pub fn began(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.time, &Rfc3339).ok()
    }

    /// The best name for who asked.
    pub fn who(&self) -> &str {
        let Principal { sub, cert_subject } = &self.principal;
        sub.as_deref().or(cert_subject.as_deref()).unwrap_or(&self.peer)
    }
}

impl Filter {
    /// Whether `entry` is wanted.
    pub fn wants(&self, entry: &Entry) -> bool {
        let Principal { sub, cert_subject } = &entry.principal;
        let principal = |name: &String| [sub, cert_subject].contains(&&Some(name.clone()));
        let method =
            |part: &String| format!("{}/{}", entry.service, entry.method).to_lowercase().contains(&part.to_lowercase());
        let began = entry.began();
        self.principal.as_ref().is_none_or(principal)
            && self.method.as_ref().is_none_or(method)
            && self.decision.as_ref().is_none_or(|decision| *decision == entry.decision)
            && self.since.is_none_or(|since| began.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| began.is_some_and(|at| at < until))
    }

    /// Gives what is wanted of one file to `each`, the newest first; breaks when `each` does, or when everything before
    /// is too old.
    pub fn search(
        &self,
        lines: &mut Backward,
        each: &mut dyn FnMut(Vec<u8>, Entry) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        while let Some(line) = lines.line()? {
            let Some(entry) = Entry::parse(&line) else { continue };
            if self.is_past(&entry) || (self.wants(&entry) && each(line, entry).is_break()) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether everything before `entry` in the file is too old. Records stand in the order in which operations
    /// *ended*, so a long poll may stand after what began later.
    fn is_past(&self, entry: &Entry) -> bool {
        let lasted = Duration::microseconds(i64::try_from(entry.duration_us).unwrap_or(i64::MAX));
        let ended = entry.began().and_then(|began| began.checked_add(lasted));
        self.since.zip(ended).is_some_and(|(since, ended)| ended + DISORDER < since)
    }
}

/// `text` with everything that could act on a terminal written out, as `\u{1b}`.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(began: &str, seconds: u64) -> Entry {
        let line = format!(
            r#"{{"time":"{began}","service":"s.S","method":"ListX","principal":{{"sub":"a","cert_subject":"CN=c"}},
            "decision":"deny","duration_us":{}}}"#,
            seconds * 1_000_000
        );
        Entry::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn each_condition_narrows_and_all_must_hold() {
        let entry = entry("2026-11-25T10:00:00.5Z", 0);
        let at = |text| Some(OffsetDateTime::parse(text, &Rfc3339).unwrap());
        let some = |text: &str| Some(text.to_owned());
        let all = Filter::default();
        for (wanted, filter) in [
            (true, all.clone()),
            (true, Filter { principal: some("a"), method: some("s.s/listx"), decision: some("deny"), ..all.clone() }),
            (true, Filter { principal: some("CN=c"), ..all.clone() }),
            (false, Filter { principal: some("c"), ..all.clone() }),
            (false, Filter { decision: some("allow"), ..all.clone() }),
            (true, Filter { since: at("2026-11-25T10:00:00Z"), until: at("2026-11-25T10:00:01Z"), ..all.clone() }),
            (false, Filter { since: at("2026-11-25T10:00:01Z"), ..all.clone() }),
            (false, Filter { until: at("2026-11-25T10:00:00Z"), ..all }),
        ] {
            assert_eq!(filter.wants(&entry), wanted, "{filter:?}");
        }
    }

    #[test]
    fn a_long_poll_that_began_early_does_not_end_the_search() {
        let since = OffsetDateTime::parse("2026-11-25T10:00:00Z", &Rfc3339).ok();
        let filter = Filter { since, ..Filter::default() };
        assert!(!filter.is_past(&entry("2026-11-25T09:00:00Z", 3600)));
        assert!(filter.is_past(&entry("2026-11-25T09:00:00Z", 60)));
    }

    #[test]
    fn nothing_a_client_sends_moves_the_cursor() {
        assert_eq!(escaped("a\u{1b}[2J\n\u{202e}ß"), "a\\u{1b}[2J\\n\\u{202e}ß");
    }
}
