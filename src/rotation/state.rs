//! `state.json`: where a rotation is, and the last time a writer saw. Whatever else is in it is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    artefact::{CA_CERT, STATE},
    put_back::PutBack,
};
use crate::store::Set;

/// The document. Everything has a default: a file that was lost costs precision, never material.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// For people: what goes on, in one word.
    #[serde(default)]
    pub(super) phase: Phase,
    /// When the last generation was made, by the writer's clock.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) last_seen: Option<OffsetDateTime>,
    /// SHA-256 of the CA certificate that is trusted beside the current one, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) old_ca: Option<String>,
    /// When that one is no longer trusted.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) overlap_ends: Option<OffsetDateTime>,
    /// When something that others hold was last replaced.
    #[serde(default, skip_serializing_if = "Published::is_empty")]
    pub(super) published: Published,
    /// From when on the current signing key has been the current one.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) signing_key_since: Option<OffsetDateTime>,
    /// Signing keys before the current one by `kid`, and when each leaves the JWKS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) old_keys: BTreeMap<String, End>,
    /// Who this generation is when it was put back in the place of one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) put_back: Option<PutBack>,
    #[serde(flatten)]
    pub(super) rest: serde_json::Map<String, serde_json::Value>,
}

/// What of it others hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Certificates and keys of a bundle.
    Certs,
    /// Tokens.
    Tokens,
    /// `ca.crt`.
    Ca,
}

impl Change {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Certs, Self::Tokens, Self::Ca];

    /// As the label `temporal-warden.events` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certs => "certs",
            Self::Tokens => "tokens",
            Self::Ca => "ca",
        }
    }

    /// What changes with a file of the set.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            CA_CERT => Some(Self::Ca),
            _ if path.ends_with(".crt") => Some(Self::Certs),
            _ if path.ends_with(".jwt") => Some(Self::Tokens),
            _ => None,
        }
    }
}

/// When each kind was last replaced; what was made for the first time was held by nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certs: Option<End>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<End>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<End>,
}

impl Published {
    /// When this kind was last replaced.
    pub fn at(&self, change: Change) -> Option<OffsetDateTime> {
        let end = match change {
            Change::Certs => self.certs,
            Change::Tokens => self.tokens,
            Change::Ca => self.ca,
        };
        end.map(|end| end.0)
    }

    /// It was replaced at `at`.
    pub fn note(&mut self, change: Change, at: OffsetDateTime) {
        let end = match change {
            Change::Certs => &mut self.certs,
            Change::Tokens => &mut self.tokens,
            Change::Ca => &mut self.ca,
        };
        *end = Some(End(at));
    }

    /// Nothing was ever replaced.
    pub fn is_empty(&self) -> bool {
        Change::ALL.into_iter().all(|change| self.at(change).is_none())
    }
}

/// A moment as it stands in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End(#[serde(with = "time::serde::rfc3339")] pub(super) OffsetDateTime);

/// What goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// Nothing.
    #[default]
    Steady,
    /// Two CAs, or two signing keys, are trusted.
    Overlap,
    /// A new signing key is published; tokens are still those of the one before.
    NewKey,
    /// A word of another version.
    #[serde(other)]
    Other,
}

impl State {
    /// As it stands in the set; the default when it is missing or broken, which is judged elsewhere.
    pub(super) fn of(set: &Set) -> Self {
        set.get(STATE).and_then(|file| serde_json::from_slice(&file.bytes).ok()).unwrap_or_default()
    }

    /// What goes on, by the rest of the document.
    pub(super) fn settle(&mut self, tokens_behind: bool) {
        self.phase = match (tokens_behind, self.old_ca.is_some() || !self.old_keys.is_empty()) {
            (true, _) => Phase::NewKey,
            (false, true) => Phase::Overlap,
            (false, false) => Phase::Steady,
        };
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_another_version_wrote_is_kept() {
        let text = r#"{"phase":"steady","last_seen":"2026-11-24T12:00:00Z","later":{"a":[1]}}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!(state.last_seen, Some(datetime!(2026-11-24 12:00 UTC)));
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
        let other: State = serde_json::from_str(r#"{"phase":"dancing"}"#).unwrap();
        assert_eq!(other.phase, Phase::Other);
    }

    #[test]
    fn the_phase_follows_from_what_is_trusted() {
        let mut state = State { old_ca: Some("ab".to_owned()), ..State::default() };
        let mut phase = |behind| {
            state.settle(behind);
            state.phase
        };
        assert_eq!((phase(true), phase(false)), (Phase::NewKey, Phase::Overlap));
        state.old_ca = None;
        state.settle(false);
        assert_eq!(state.phase, Phase::Steady);
    }
}
