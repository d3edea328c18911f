//! What is to be made: pure, from what exists, the request and the time.

mod signing;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Problem,
    artefact::{CA_CERT, LeafId, REVOCATIONS, STATE, TokenId},
    authority::Issuing,
    judge::{Judged, Judgement, date},
};
use crate::audit::Act;

/// Why something stands in the place of another.
const REVOKED: &str = "the one before was revoked";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// A start or a timer: what is missing, expired, due or no longer what the configuration says.
    MakeMissing,
    /// New leaf certificates by the same CA.
    Certificates {
        /// Whether leafs keep their keys.
        keep_keys: bool,
    },
    /// New tokens by the current key.
    Tokens,
    /// As [`Self::MakeMissing`], but nothing for the sake of time: the clock is in doubt.
    Timeless,
    /// A new CA, signed by the old one as well, and new leaf certificates by it.
    RotateCa {
        /// Whether leafs keep their keys.
        keep_keys: bool,
    },
    /// The CA before the current one is no longer trusted.
    RetireCa,
    /// First half of a change of the signing key: the new key is published, tokens stay.
    RotateKey,
    /// Second half: tokens by the new key.
    FinishKey,
    /// Signing keys before the current one are no longer trusted.
    RetireKeys,
    /// Certificates that somebody else signed take their places.
    Install,
    /// What was revoked is put on record, and what was revoked of the warden's own is replaced.
    Revoke,
}

impl Request {
    /// What it is on record as.
    pub fn act(self) -> Act {
        match self {
            Self::MakeMissing | Self::Timeless => Act::MakeMissing,
            Self::Certificates { .. } => Act::GenerateCertificates,
            Self::Tokens | Self::FinishKey => Act::GenerateTokens,
            Self::RotateCa { .. } => Act::RotateCa,
            Self::RetireCa => Act::RetireCa,
            Self::RotateKey => Act::RotateKey,
            Self::RetireKeys => Act::RetireKeys,
            Self::Install => Act::InstallCertificates,
            Self::Revoke => Act::Revoke,
        }
    }

    /// Whether what no longer fits is made anew beside what is asked for.
    fn adjusts(self) -> bool {
        matches!(self, Self::MakeMissing | Self::Timeless | Self::Install)
    }

    /// Whether tokens are made anew; with `binding` they are bound to certificates, and go with those.
    pub fn mints(self, binding: bool) -> bool {
        match self {
            Self::Tokens | Self::FinishKey => true,
            Self::Certificates { .. } | Self::RotateCa { .. } | Self::Install => binding,
            _ => false,
        }
    }
}

/// Which key a new leaf gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChoice {
    /// The one it has, if it has one: readers that mix two generations still see a matching pair.
    Keep,
    /// A new one.
    New,
}

/// One thing to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(super) enum Item {
    Authority,
    /// The CA after this one.
    Rollover,
    /// The CA before this one goes.
    Retirement,
    Trust,
    /// The CA key, encrypted.
    SealKey,
    /// What somebody else signed.
    Signed,
    Leaf(LeafId, KeyChoice),
    SigningKey,
    /// The signing key after this one.
    NextKey {
        /// Nobody asked for it.
        by_age: bool,
    },
    /// The signing keys before this one go.
    DropKeys(Drop),
    PublicKey,
    Jwks,
    Token(TokenId),
    Password,
    Revocations,
    State,
}

/// Which signing keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// Those whose last token has expired.
    Ended,
    /// All before the current one.
    All,
}

impl Item {
    pub(super) fn is_certificate(self) -> bool {
        matches!(self, Self::Authority | Self::Rollover | Self::Leaf(..))
    }

    pub(super) fn is_token(self) -> bool {
        matches!(self, Self::SigningKey | Self::Token(_))
    }
}

/// One thing to make and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Make {
    pub(super) item: Item,
    pub(super) reason: String,
}

/// What to make, in order, and what to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) makes: Vec<Make>,
    pub(super) warnings: Vec<String>,
}

impl Plan {
    fn add(&mut self, item: Item, reason: impl Into<String>) {
        self.makes.push(Make { item, reason: reason.into() });
    }

    fn add_missing(&mut self, item: Item, judgement: &Judgement) {
        if *judgement == Judgement::Missing {
            self.add(item, "missing");
        }
    }
}

/// Decides. Everything that blocks the request comes back at once.
pub(super) fn plan(judged: &Judged, request: Request, now: OffsetDateTime) -> Result<Plan, Vec<Problem>> {
    let mut plan = Plan::default();
    let mut problems = Vec::new();
    for (name, judgement) in judged.each() {
        if let Some(problem) = judgement.problem() {
            if blocks(name, request) { problems.push(problem.clone()) } else { plan.warnings.push(problem.to_string()) }
        }
        if let Some(window) = judgement.window().filter(|w| w.from > now) {
            plan.warnings.push(format!("{name} is not valid before {}: was the clock set back?", date(window.from)));
        }
    }
    plan_authority(judged, request, now, &mut plan, &mut problems);
    if request == Request::Install {
        plan.add(Item::Signed, "signed elsewhere");
    }
    plan_leafs(judged, request, now, &mut plan, &mut problems);
    signing::plan_signing(judged, request, now, &mut plan);
    plan.add_missing(Item::Password, &judged.password);
    match request {
        Request::Revoke => plan.add(Item::Revocations, "asked for"),
        _ => plan.add_missing(Item::Revocations, &judged.revocations),
    }
    match &judged.state {
        Judgement::Missing if plan.makes.is_empty() => plan.add(Item::State, "missing"),
        state if !plan.makes.is_empty() && state.problem().is_none() => plan.add(Item::State, "records this change"),
        _ => {}
    }
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// A request that replaces a class of things is the cure for those that are broken; a start is the cure for none.
fn blocks(name: &str, request: Request) -> bool {
    let of_keys = name.contains("jwt-") || name.contains("jwks");
    match request {
        Request::MakeMissing | Request::Timeless | Request::RetireCa => true,
        Request::Certificates { .. } | Request::Install => name == CA_CERT,
        Request::RotateCa { .. } => name == CA_CERT || name == STATE,
        Request::Tokens | Request::FinishKey => of_keys,
        Request::RotateKey | Request::RetireKeys => of_keys || name == STATE,
        Request::Revoke => name == REVOCATIONS,
    }
}

fn plan_authority(
    judged: &Judged,
    request: Request,
    now: OffsetDateTime,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) {
    if judged.new_trust.is_some() && judged.authority.is_there() {
        plan.add(Item::Trust, "WARDEN_CA_CERT_FILE says so");
    }
    plan.add_missing(Item::Authority, &judged.authority);
    match &judged.unsealed {
        Some(clear) if judged.own_ca => plan.warnings.push(clear.to_string()),
        // A new CA has its key encrypted anyway.
        Some(_) if request.adjusts() => {
            plan.add(Item::SealKey, "WARDEN_CA_KEY_PASSPHRASE_FILE asks for an encrypted key")
        }
        _ => {}
    }
    let due = judged.authority.window().map(|w| w.due()).filter(|due| *due <= now);
    match (request, &judged.overlap, due) {
        (Request::RotateCa { .. }, _, _) if judged.authority.is_there() => match may_roll_over(judged) {
            Ok(()) => plan.add(Item::Rollover, "asked for"),
            Err(problem) => problems.push(problem),
        },
        (Request::RetireCa, Some(_), _) => plan.add(Item::Retirement, "asked for"),
        (Request::RetireCa, None, _) => {
            plan.warnings.push("only one CA is trusted: there is none to retire".to_owned())
        }
        (Request::MakeMissing, Some(overlap), _) if overlap.ends <= now => {
            plan.add(Item::Retirement, format!("the last certificate it issued expired on {}", date(overlap.ends)));
        }
        (Request::MakeMissing, None, Some(due)) if may_roll_over(judged).is_ok() => {
            plan.add(Item::Rollover, format!("due since {}", date(due)));
        }
        _ => {}
    }
}

/// Two overlaps at once would need a chain of cross-signed certificates that roots with `pathlen:1` forbid.
fn may_roll_over(judged: &Judged) -> Result<(), Problem> {
    if let Some(overlap) = &judged.overlap {
        let what = format!("is new: {} before it is trusted until {}", overlap.old.subject, date(overlap.ends));
        let fix = "end that first with `temporal-warden cert retire`".to_owned();
        return Err(Problem { path: CA_CERT.into(), what, fix });
    }
    if judged.own_ca {
        let fix = "replace the files WARDEN_CA_CERT_FILE and WARDEN_CA_KEY_FILE name".to_owned();
        return Err(Problem { path: CA_CERT.into(), what: "is your own CA, not one the warden made".to_owned(), fix });
    }
    match &judged.issuing {
        Issuing::Possible => Ok(()),
        Issuing::Offline { fix } => Err(cannot_issue("a new CA", fix)),
    }
}

fn plan_leafs(judged: &Judged, request: Request, now: OffsetDateTime, plan: &mut Plan, problems: &mut Vec<Problem>) {
    if let (Request::Certificates { .. }, Issuing::Offline { fix }) = (request, &judged.issuing) {
        problems.push(cannot_issue("new leaf certificates", fix));
        return;
    }
    if judged.authority.problem().is_some() {
        return;
    }
    let new_ca = plan.makes.iter().any(|make| make.item == Item::Rollover);
    for (id, judgement) in &judged.leafs {
        let due = if new_ca { Some(by_new_ca(judgement, request)) } else { leaf_due(judgement, request) };
        let Some((choice, reason)) = due else { continue };
        match &judged.issuing {
            Issuing::Possible => plan.add(Item::Leaf(*id, choice), reason),
            Issuing::Offline { fix } => {
                let usable = judgement.window().is_some_and(|w| now < w.until);
                let problem = cannot_issue(&format!("{} ({reason})", id.cert()), fix);
                if *id == LeafId::Server && !usable {
                    problems.push(problem);
                } else {
                    plan.warnings.push(problem.to_string());
                }
            }
        }
    }
}

fn leaf_due(judgement: &Judgement, request: Request) -> Option<(KeyChoice, String)> {
    match (request, judgement) {
        (Request::Certificates { keep_keys }, _) => {
            let choice = if keep_keys && keeps_key(judgement) { KeyChoice::Keep } else { KeyChoice::New };
            Some((choice, "asked for".to_owned()))
        }
        (_, Judgement::Missing) => Some((KeyChoice::Keep, "missing".to_owned())),
        // Whoever has the old key would be in again with the new certificate.
        (_, Judgement::Revoked(_)) => Some((KeyChoice::New, REVOKED.to_owned())),
        (_, judgement) => stale(judgement, request).map(|reason| (KeyChoice::Keep, reason.to_owned())),
    }
}

/// A new CA issues every leaf anew in the same generation; by hand with new keys, as all that is done by hand.
fn by_new_ca(judgement: &Judgement, request: Request) -> (KeyChoice, String) {
    let keep = !matches!(request, Request::RotateCa { keep_keys: false }) && keeps_key(judgement);
    (if keep { KeyChoice::Keep } else { KeyChoice::New }, "signed by the new CA".to_owned())
}

/// Whether there is a key that may go on with another certificate.
fn keeps_key(judgement: &Judgement) -> bool {
    judgement.is_there() && !matches!(judgement, Judgement::Revoked(_))
}

/// Why a start or a timer replaces this.
fn stale(judgement: &Judgement, request: Request) -> Option<&str> {
    match judgement {
        Judgement::Stale { reason, by_time, .. } if request.adjusts() => {
            (!by_time || request == Request::MakeMissing).then_some(reason)
        }
        _ => None,
    }
}

fn cannot_issue(what: &str, fix: &str) -> Problem {
    Problem { path: "the CA key".into(), what: format!("is absent, so {what} can't be issued"), fix: fix.to_owned() }
}

#[cfg(test)]
mod tests;
