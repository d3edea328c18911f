//! Judging what exists: every artefact becomes missing, good, stale (ours to replace) or broken. No disk, no making.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use time::{Duration, OffsetDateTime};

use super::{
    Problem,
    artefact::{LeafId, PASSWORD, REVOCATIONS, STATE, TokenId},
    authority::{self, Issuing},
    inputs::OwnCaFiles,
    leafs,
    overlap::{self, Overlap},
    signing,
    state::State,
};
use crate::{config::Config, gateway::link::Revocations, pki::Vault, store::Set};

/// From when to when something is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
    /// How much before two thirds it is renewed, of the most that is possible.
    early: u32,
}

/// The most by which a renewal comes before two thirds: this part of a life, three of 90 days.
const EARLY: i32 = 30;

impl Window {
    pub(super) fn new(from: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { from, until, early: 0 }
    }

    /// Renewed a little earlier, so that what was set up together is not renewed together.
    pub(super) fn early(self, early: u32) -> Self {
        Self { early, ..self }
    }

    /// Renewal is due at two thirds of the life, or shortly before.
    pub(super) fn due(&self) -> OffsetDateTime {
        let life = self.until - self.from;
        self.from + life * 2 / 3 - life / EARLY * (f64::from(self.early) / f64::from(u32::MAX))
    }

    /// `at`, moved into the window: lets names and signatures be judged apart from time.
    pub(super) fn clamp(&self, at: OffsetDateTime) -> OffsetDateTime {
        at.max(self.from).min(self.until)
    }
}

/// What an artefact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Not there.
    Missing,
    /// In order; a validity where it has one.
    Good(Option<Window>),
    /// In order but to be replaced: due, expired, or no longer what the configuration asks.
    Stale {
        window: Window,
        reason: String,
        /// For the sake of time alone.
        by_time: bool,
    },
    /// In order but revoked: to be replaced, a certificate with a new key.
    Revoked(Window),
    /// There and unusable.
    Broken(Problem),
}

impl Judgement {
    pub(super) fn window(&self) -> Option<Window> {
        match self {
            Self::Good(window) => *window,
            Self::Stale { window, .. } | Self::Revoked(window) => Some(*window),
            Self::Missing | Self::Broken(_) => None,
        }
    }

    /// Only what is in order can be revoked: all else is replaced anyway, or reported.
    pub(super) fn unless_revoked(self, revoked: bool) -> Self {
        match self {
            Self::Good(Some(window)) | Self::Stale { window, .. } if revoked => Self::Revoked(window),
            other => other,
        }
    }

    pub(super) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Broken(problem) => Some(problem),
            _ => None,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::Good(_) | Self::Stale { .. } | Self::Revoked(_))
    }
}

/// Everything, judged.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) authority: Judgement,
    pub(super) issuing: Issuing,
    /// The CA is the user's.
    pub(super) own_ca: bool,
    /// The CA before the current one is still trusted.
    pub(super) overlap: Option<Overlap>,
    /// The trust bundle that should be in `ca.crt`, when the user's own CA says another than is there.
    pub(super) new_trust: Option<String>,
    /// The CA key lies in clear although there is a passphrase.
    pub(super) unsealed: Option<Problem>,
    pub(super) leafs: BTreeMap<LeafId, Judgement>,
    pub(super) signing_key: Judgement,
    pub(super) public_key: Judgement,
    pub(super) jwks: Judgement,
    /// Signing keys before the current one that are still trusted, and until when.
    pub(super) old_keys: BTreeMap<String, OffsetDateTime>,
    /// Tokens are still signed by one of those: the change of the key is half done.
    pub(super) behind: bool,
    /// When the signing key is old enough to be changed; `None` = never, or its age is not known yet.
    pub(super) key_due: Option<OffsetDateTime>,
    pub(super) tokens: BTreeMap<TokenId, Judgement>,
    /// Whether tokens are bound to the certificate beside them.
    pub(super) binding: bool,
    pub(super) password: Judgement,
    pub(super) revocations: Judgement,
    pub(super) state: Judgement,
}

impl Judged {
    /// Every artefact by the file it is named for.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &Judgement)> {
        use super::artefact::{CA_CERT, JWKS, PUBLIC_KEY, SIGNING_KEY};
        let leafs = self.leafs.iter().map(|(id, judgement)| (id.cert(), judgement));
        let tokens = self.tokens.iter().map(|(id, judgement)| (id.path(), judgement));
        let keys = [(SIGNING_KEY, &self.signing_key), (PUBLIC_KEY, &self.public_key), (JWKS, &self.jwks)];
        let rest = [(PASSWORD, &self.password), (REVOCATIONS, &self.revocations), (STATE, &self.state)];
        [(CA_CERT, &self.authority)].into_iter().chain(leafs).chain(keys).chain(tokens).chain(rest)
    }
}

/// What judging needs besides the files.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) own_ca: Option<&'a OwnCaFiles>,
    pub(super) now: OffsetDateTime,
    /// Opens the CA key.
    pub(super) vault: &'a Vault,
}

impl Scene<'_> {
    /// Where a file of the set lies, for messages.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.config.certs.dir.join(path)
    }

    pub(super) fn problem(&self, path: &str, what: impl ToString, fix: impl Into<String>) -> Judgement {
        Judgement::Broken(Problem { path: self.at(path), what: what.to_string(), fix: fix.into() })
    }

    /// What to do about a file that can be made again once it is gone.
    pub(super) fn remove_fix(&self, path: &str) -> String {
        let data = self.config.certs.dir.join("..data").join(path);
        let file = if data.exists() { data } else { self.at(path) };
        format!("restore it, or remove {} to have it made anew", file.display())
    }
}

/// The text of a file of the set; bytes that are no text become one that no parser accepts.
pub(super) fn text<'a>(set: &'a Set, path: &str) -> Option<std::borrow::Cow<'a, str>> {
    set.get(path).map(|file| String::from_utf8_lossy(&file.bytes))
}

/// Judges a whole set.
pub(super) fn judge(set: &Set, scene: &Scene<'_>) -> Judged {
    let found = authority::judge(set, scene);
    let keys = signing::judge(set, scene);
    let revoked = revocations(set).unwrap_or_default();
    let leafs = LeafId::ALL
        .into_iter()
        .filter(|id| id.profile(scene.config).is_some())
        .map(|id| (id, leafs::judge(id, set, scene, &found).unless_revoked(leafs::is_revoked(id, set, &revoked))))
        .collect();
    let tokens = TokenId::ALL.into_iter().map(|id| (id, keys.judge_token(id, set, scene, &revoked))).collect();
    let overlap = if scene.own_ca.is_none() { overlap::of(set, scene.config.certs.cert_ttl) } else { None };
    Judged {
        authority: found.judgement,
        issuing: found.issuing,
        own_ca: scene.own_ca.is_some(),
        overlap,
        new_trust: found.new_trust,
        unsealed: found.unsealed,
        leafs,
        signing_key: keys.private,
        public_key: keys.public,
        jwks: keys.jwks,
        old_keys: signing::old_keys(set),
        behind: signing::behind(set),
        key_due: signing::due(set, scene.config),
        tokens,
        binding: scene.config.tokens.binding,
        password: password(set, scene),
        revocations: json::<Revocations>(REVOCATIONS, set, scene),
        state: json::<State>(STATE, set, scene),
    }
}

/// What was revoked; nothing when the file is missing or can't be read, which is reported as the file's own problem.
pub(super) fn revocations(set: &Set) -> Option<Revocations> {
    serde_json::from_slice(&set.get(REVOCATIONS)?.bytes).ok()
}

fn password(set: &Set, scene: &Scene<'_>) -> Judgement {
    match text(set, PASSWORD) {
        None => Judgement::Missing,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => Judgement::Good(None),
        Some(_) => scene.problem(
            PASSWORD,
            "is empty or holds more than one word",
            "restore the password the database knows, or set POSTGRES_PWD",
        ),
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &str, set: &Set, scene: &Scene<'_>) -> Judgement {
    let Some(file) = set.get(path) else { return Judgement::Missing };
    match serde_json::from_slice::<T>(&file.bytes) {
        Ok(_) => Judgement::Good(None),
        Err(e) => scene.problem(path, format!("is not the JSON it should be: {e}"), scene.remove_fix(path)),
    }
}

/// Times of something valid in `window`: expired, due at two thirds, or good. A start that lies ahead means that the
/// clock went back; nothing is made anew for that.
pub(super) fn by_time(window: Window, now: OffsetDateTime) -> Judgement {
    if now >= window.until {
        return Judgement::Stale { window, reason: format!("expired on {}", date(window.until)), by_time: true };
    }
    if now >= window.due() {
        return Judgement::Stale { window, reason: format!("due since {}", date(window.due())), by_time: true };
    }
    Judgement::Good(Some(window))
}

/// A moment in words, to the second.
pub(super) fn date(at: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    at.format(format).unwrap_or_else(|_| at.unix_timestamp().to_string())
}

/// A duration of the configuration, as the time library has it.
pub(super) fn span(duration: std::time::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::days(36_500))
}

/// The path of a file within the folder, without the folder.
pub(super) fn relative<'a>(dir: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(dir).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_renewal_is_due_at_two_thirds_and_at_most_a_thirtieth_of_the_life_earlier() {
        let from = datetime!(2026-11-24 12:00 UTC);
        let window = Window::new(from, from + Duration::days(90));
        assert_eq!(window.due(), from + Duration::days(60));
        assert_eq!(window.early(u32::MAX).due(), from + Duration::days(57));
        let half = window.early(u32::MAX / 2).due() - (from + Duration::hours(24 * 58 + 12));
        assert!(half.abs() < Duration::SECOND, "{half}");
    }
}
