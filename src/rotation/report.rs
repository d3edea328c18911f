//! Reading without changing: the state of every artefact, for `cert list`, `cert verify` and `status`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Error, Problem,
    apply::vault,
    artefact::{CA_CERT, FLAT, JWKS, SIGNING_KEY},
    authority::Issuing,
    inputs,
    judge::{Judged, Judgement, Scene, date, judge, relative, text},
};
use crate::{
    config::Config,
    pki::Certificate,
    store::{Generations, Set},
};

/// The state of one artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In order.
    Good,
    /// In order; renewal is due.
    Due,
    /// Its end has come.
    Expired,
    /// Revoked before its end.
    Revoked,
    /// Begins in the future: was the clock set back?
    NotYetValid,
    /// Not there.
    Missing,
    /// There and unusable.
    Broken,
}

impl State {
    /// Whether it can be used now.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Good | Self::Due)
    }

    /// One word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Due => "renewal due",
            Self::Expired => "EXPIRED",
            Self::Revoked => "REVOKED",
            Self::NotYetValid => "NOT YET VALID",
            Self::Missing => "MISSING",
            Self::Broken => "BROKEN",
        }
    }
}

/// One artefact as reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// The file it is named for, within the folder.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its state.
    pub state: State,
    /// First moment, where it has one.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// Last moment, where it has one.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    /// When renewal is due, where the warden renews it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub renew_at: Option<OffsetDateTime>,
    /// Subject of a certificate.
    pub subject: Option<String>,
    /// Serial of a certificate, as `cert revoke` takes it.
    pub serial: Option<String>,
    /// SHA-256 fingerprint of a certificate.
    pub sha256: Option<String>,
    /// What is wrong or due, in words.
    pub detail: Option<String>,
    /// What to do about it.
    pub fix: Option<String>,
}

/// A folder as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The generation that is live; `None` before the first.
    pub generation: Option<u64>,
    /// Every artefact.
    pub artefacts: Vec<Artefact>,
    /// What else is wrong (foreign owners).
    pub problems: Vec<String>,
}

impl Report {
    /// Whether everything is there and usable now.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty() && self.artefacts.iter().all(|a| a.state.is_usable())
    }
}

/// Judges what is there; takes no lock and changes nothing.
pub fn inspect(config: &Config, now: OffsetDateTime) -> Result<Report, Error> {
    let own_ca = inputs::own_ca(config)?;
    let snapshot = Generations::open_existing(&config.certs.dir)?.snapshot_unlocked(&FLAT)?;
    let set = inputs::to_set(&snapshot);
    let judged = judge(&set, &Scene { config, own_ca: own_ca.as_ref(), now, vault: &vault(config) });
    let problems = inputs::problems(&config.certs.dir, &snapshot).iter().map(Problem::to_string).collect();
    Ok(Report { generation: snapshot.generation, artefacts: artefacts(config, &set, &judged, now), problems })
}

pub(super) fn artefacts(config: &Config, set: &Set, judged: &Judged, now: OffsetDateTime) -> Vec<Artefact> {
    judged.each().map(|(name, judgement)| artefact(config, set, judged, (name, judgement), now)).collect()
}

fn artefact(
    config: &Config,
    set: &Set,
    judged: &Judged,
    (name, judgement): (&str, &Judgement),
    now: OffsetDateTime,
) -> Artefact {
    let window = judgement.window();
    let problem = judgement.problem();
    let reason = match judgement {
        Judgement::Stale { reason, .. } => Some(reason.clone()),
        Judgement::Revoked(_) => Some("was revoked".to_owned()),
        _ => problem
            .map(|p| format!("{} {}", relative(&config.certs.dir, &p.path).display(), p.what))
            .or_else(|| remark(judged, name)),
    };
    let certificates = text(set, name).filter(|_| name.ends_with(".crt")).map(|pem| Certificate::all_from_pem(&pem));
    let first = certificates.and_then(Result::ok).and_then(|chain| chain.into_iter().next());
    Artefact {
        name: name.to_owned(),
        path: config.certs.dir.join(name),
        state: state(judgement, now),
        not_before: window.map(|w| w.from),
        not_after: window.map(|w| w.until),
        renew_at: match judgement {
            Judgement::Revoked(_) => Some(now),
            _ => next_act(judged, name, judgement),
        },
        subject: first.as_ref().map(|c| c.subject.clone()),
        serial: first.as_ref().map(|c| c.serial.clone()),
        sha256: first.map(|c| c.fingerprint),
        detail: reason,
        fix: problem.map(|p| p.fix.clone()),
    }
}

/// When the warden does something about it by itself.
fn next_act(judged: &Judged, name: &str, judgement: &Judgement) -> Option<OffsetDateTime> {
    let due = judgement.window().map(|w| w.due());
    match (name, &judged.overlap) {
        (CA_CERT, Some(overlap)) => Some(overlap.ends),
        (CA_CERT, None) => due.filter(|_| !judged.own_ca && judged.issuing == Issuing::Possible),
        (JWKS, _) => judged.old_keys.values().min().copied(),
        (SIGNING_KEY, _) => judged.key_due.filter(|_| !judged.behind),
        _ => due,
    }
}

/// What a person should know of something that is in order.
fn remark(judged: &Judged, name: &str) -> Option<String> {
    match (name, &judged.overlap) {
        (CA_CERT, Some(o)) => {
            Some(format!("{} is trusted too, until {} or `cert retire`", o.old.subject, date(o.ends)))
        }
        (CA_CERT, None) if !judged.own_ca && judged.authority.is_there() && judged.issuing != Issuing::Possible => {
            Some("its key is not there: nothing can be renewed".to_owned())
        }
        (JWKS, _) if !judged.old_keys.is_empty() => {
            let each = |(kid, end): (&String, &OffsetDateTime)| format!("key {kid} until {}", date(*end));
            let old: Vec<_> = judged.old_keys.iter().map(each).collect();
            Some(format!("trusts too: {}, or `token retire`", old.join(", ")))
        }
        _ => None,
    }
}

fn state(judgement: &Judgement, now: OffsetDateTime) -> State {
    match judgement {
        Judgement::Missing => State::Missing,
        Judgement::Broken(_) => State::Broken,
        Judgement::Stale { window, .. } if now >= window.until => State::Expired,
        Judgement::Stale { .. } => State::Due,
        Judgement::Revoked(_) => State::Revoked,
        Judgement::Good(Some(window)) if window.from > now => State::NotYetValid,
        Judgement::Good(Some(window)) if now >= window.due() => State::Due,
        Judgement::Good(_) => State::Good,
    }
}
