//! What is to be made: pure, from what exists, the request and the time.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Problem,
    artefact::{CA_CERT, LeafId, REVOCATIONS, TokenId},
    authority::Issuing,
    judge::{Judged, Judgement, date},
};
use crate::audit::Act;

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
    /// New tokens by the same key.
    Tokens,
    /// What was revoked is put on record, and what was revoked of the warden's own is replaced.
    Revoke,
}

impl Request {
    /// What it is on record as.
    pub fn act(self) -> Act {
        match self {
            Self::MakeMissing => Act::MakeMissing,
            Self::Certificates { .. } => Act::GenerateCertificates,
            Self::Tokens => Act::GenerateTokens,
            Self::Revoke => Act::Revoke,
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
    Trust,
    Leaf(LeafId, KeyChoice),
    SigningKey,
    PublicKey,
    Jwks,
    Token(TokenId),
    Password,
    Revocations,
    State,
}

impl Item {
    pub(super) fn is_certificate(self) -> bool {
        matches!(self, Self::Authority | Self::Leaf(..))
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
    plan_authority(judged, &mut plan);
    plan_leafs(judged, request, now, &mut plan, &mut problems);
    plan_keys_and_tokens(judged, request, &mut plan);
    plan_bound_tokens(judged, &mut plan);
    plan.add_missing(Item::Password, &judged.password);
    match request {
        Request::Revoke => plan.add(Item::Revocations, "asked for"),
        _ => plan.add_missing(Item::Revocations, &judged.revocations),
    }
    if !plan.makes.is_empty() && judged.state.problem().is_none() {
        plan.add(Item::State, "records this change");
    }
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// A request that replaces a class of things is the cure for those that are broken; a start is the cure for none.
fn blocks(name: &str, request: Request) -> bool {
    match request {
        Request::MakeMissing => true,
        Request::Certificates { .. } => name == CA_CERT,
        Request::Tokens => name.contains("jwt-") || name.contains("jwks"),
        Request::Revoke => name == REVOCATIONS,
    }
}

fn plan_authority(judged: &Judged, plan: &mut Plan) {
    if judged.new_trust.is_some() && judged.authority.is_there() {
        plan.add(Item::Trust, "WARDEN_CA_CERT_FILE says so");
    }
    plan.add_missing(Item::Authority, &judged.authority);
}

fn plan_leafs(judged: &Judged, request: Request, now: OffsetDateTime, plan: &mut Plan, problems: &mut Vec<Problem>) {
    if let (Request::Certificates { .. }, Issuing::Offline { fix }) = (request, &judged.issuing) {
        problems.push(cannot_issue("new leaf certificates", fix));
        return;
    }
    if judged.authority.problem().is_some() {
        return;
    }
    for (id, judgement) in &judged.leafs {
        let Some((choice, reason)) = leaf_due(judgement, request) else { continue };
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
            let keeps = keep_keys && judgement.is_there() && !matches!(judgement, Judgement::Revoked(_));
            let choice = if keeps { KeyChoice::Keep } else { KeyChoice::New };
            Some((choice, "asked for".to_owned()))
        }
        (_, Judgement::Missing) => Some((KeyChoice::Keep, "missing".to_owned())),
        // Whoever has the old key would be in again with the new certificate.
        (Request::MakeMissing | Request::Revoke, Judgement::Revoked(_)) => {
            Some((KeyChoice::New, "the one before was revoked".to_owned()))
        }
        (Request::MakeMissing, Judgement::Stale { reason, .. }) => Some((KeyChoice::Keep, reason.clone())),
        _ => None,
    }
}

fn cannot_issue(what: &str, fix: &str) -> Problem {
    Problem { path: "the CA key".into(), what: format!("is absent, so {what} can't be issued"), fix: fix.to_owned() }
}

fn plan_keys_and_tokens(judged: &Judged, request: Request, plan: &mut Plan) {
    plan.add_missing(Item::SigningKey, &judged.signing_key);
    if judged.signing_key.problem().is_some() {
        return;
    }
    plan.add_missing(Item::PublicKey, &judged.public_key);
    plan.add_missing(Item::Jwks, &judged.jwks);
    for (id, judgement) in &judged.tokens {
        match (request, judgement) {
            (Request::Tokens, _) => plan.add(Item::Token(*id), "asked for"),
            (_, Judgement::Missing) => plan.add(Item::Token(*id), "missing"),
            (Request::MakeMissing | Request::Revoke, Judgement::Revoked(_)) => {
                plan.add(Item::Token(*id), "the one before was revoked");
            }
            (Request::MakeMissing, Judgement::Stale { reason, .. }) => plan.add(Item::Token(*id), reason.clone()),
            _ => {}
        }
    }
}

/// A token that is bound to a certificate goes with it: both are published as one.
fn plan_bound_tokens(judged: &Judged, plan: &mut Plan) {
    if !judged.binding || judged.signing_key.problem().is_some() {
        return;
    }
    for id in judged.tokens.keys() {
        let leaf = plan.makes.iter().any(|make| matches!(make.item, Item::Leaf(leaf, _) if leaf == id.leaf()));
        if leaf && !plan.makes.iter().any(|make| make.item == Item::Token(*id)) {
            plan.add(Item::Token(*id), format!("{} is made anew", id.leaf().cert()));
        }
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::rotation::judge::Window;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn good() -> Judgement {
        Judgement::Good(Some(Window { from: NOW - Duration::days(1), until: NOW + Duration::days(89) }))
    }

    fn stale(until: OffsetDateTime) -> Judgement {
        Judgement::Stale { window: Window { from: NOW - Duration::days(90), until }, reason: "due".to_owned() }
    }

    fn broken(name: &str) -> Judgement {
        Judgement::Broken(Problem { path: name.into(), what: "is bad".to_owned(), fix: "mend it".to_owned() })
    }

    fn all(judgement: &Judgement) -> Judged {
        let one = || judgement.clone();
        Judged {
            authority: one(),
            issuing: Issuing::Possible,
            new_trust: None,
            leafs: LeafId::ALL.into_iter().map(|id| (id, one())).collect(),
            signing_key: one(),
            public_key: one(),
            jwks: one(),
            tokens: TokenId::ALL.into_iter().map(|id| (id, one())).collect(),
            binding: false,
            password: one(),
            revocations: one(),
            state: one(),
        }
    }

    fn items(judged: &Judged, request: Request) -> Vec<Item> {
        plan(judged, request, NOW).unwrap().makes.into_iter().map(|make| make.item).collect()
    }

    #[test]
    fn nothing_is_planned_when_all_is_well() {
        assert_eq!(plan(&all(&good()), Request::MakeMissing, NOW), Ok(Plan::default()));
    }

    #[test]
    fn an_empty_folder_gets_everything_authority_first() {
        let items = items(&all(&Judgement::Missing), Request::MakeMissing);
        assert_eq!(items.first(), Some(&Item::Authority));
        assert_eq!(items.len(), 1 + 5 + 3 + 4 + 3);
    }

    #[test]
    fn automatic_renewal_keeps_the_key_and_a_request_decides() {
        let mut judged = all(&good());
        judged.leafs.insert(LeafId::Client, stale(NOW + Duration::days(1)));
        assert_eq!(items(&judged, Request::MakeMissing), [Item::Leaf(LeafId::Client, KeyChoice::Keep), Item::State]);
        let new = items(&judged, Request::Certificates { keep_keys: false });
        assert!(LeafId::ALL.iter().all(|id| new.contains(&Item::Leaf(*id, KeyChoice::New))));
        let kept = items(&judged, Request::Certificates { keep_keys: true });
        assert!(LeafId::ALL.iter().all(|id| kept.contains(&Item::Leaf(*id, KeyChoice::Keep))));
        assert!(!new.iter().any(|item| item.is_token() || *item == Item::Authority));
    }

    #[test]
    fn a_bound_token_is_made_whenever_its_certificate_is() {
        let mut judged = Judged { binding: true, ..all(&good()) };
        assert_eq!(plan(&judged, Request::MakeMissing, NOW), Ok(Plan::default()));
        judged.leafs.insert(LeafId::Worker, stale(NOW + Duration::days(1)));
        let wanted = [Item::Leaf(LeafId::Worker, KeyChoice::Keep), Item::Token(TokenId::Worker), Item::State];
        assert_eq!(items(&judged, Request::MakeMissing), wanted);
        let all = items(&judged, Request::Certificates { keep_keys: true });
        assert!(TokenId::ALL.iter().all(|id| all.iter().filter(|item| **item == Item::Token(*id)).count() == 1));
    }

    #[test]
    fn what_is_revoked_is_replaced_and_a_certificate_gets_a_new_key() {
        let mut judged = all(&good());
        let revoked = || Judgement::Revoked(Window { from: NOW, until: NOW + Duration::days(9) });
        judged.leafs.insert(LeafId::Worker, revoked());
        judged.tokens.insert(TokenId::Client, revoked());
        let (leaf, token) = (Item::Leaf(LeafId::Worker, KeyChoice::New), Item::Token(TokenId::Client));
        assert_eq!(items(&judged, Request::MakeMissing), [leaf, token, Item::State]);
        assert_eq!(items(&judged, Request::Revoke), [leaf, token, Item::Revocations, Item::State]);
        assert!(items(&judged, Request::Certificates { keep_keys: true }).contains(&leaf));
    }

    #[test]
    fn a_request_for_tokens_makes_tokens_only() {
        let mut wanted: Vec<_> = TokenId::ALL.into_iter().map(Item::Token).collect();
        wanted.push(Item::State);
        assert_eq!(items(&all(&good()), Request::Tokens), wanted);
    }

    #[test]
    fn what_is_broken_blocks_a_start_and_is_cured_by_its_own_request() {
        let mut judged = all(&good());
        judged.leafs.insert(LeafId::Server, broken("leaf"));
        judged.tokens.insert(TokenId::Worker, broken("token"));
        let problems = plan(&judged, Request::MakeMissing, NOW).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(plan(&judged, Request::Certificates { keep_keys: false }, NOW).is_ok());
        assert!(plan(&judged, Request::Tokens, NOW).is_ok());
        judged.authority = broken("ca");
        assert!(plan(&judged, Request::Certificates { keep_keys: false }, NOW).is_err());
        judged.signing_key = broken("key");
        assert!(plan(&judged, Request::Tokens, NOW).is_err());
    }

    #[test]
    fn without_the_ca_key_a_valid_leaf_is_served_and_an_expired_server_leaf_is_refused() {
        let mut judged = all(&good());
        judged.issuing = Issuing::Offline { fix: "give the key".to_owned() };
        judged.leafs.insert(LeafId::Server, stale(NOW + Duration::days(1)));
        judged.leafs.insert(LeafId::Ui, Judgement::Missing);
        let served = plan(&judged, Request::MakeMissing, NOW).unwrap();
        assert!(served.makes.is_empty() && served.warnings.len() == 2, "{served:?}");
        judged.leafs.insert(LeafId::Server, stale(NOW));
        assert!(plan(&judged, Request::MakeMissing, NOW).is_err());
        assert!(plan(&judged, Request::Certificates { keep_keys: true }, NOW).is_err());
    }

    #[test]
    fn a_clock_set_back_is_told_and_makes_nothing() {
        let future = Judgement::Good(Some(Window { from: NOW + Duration::days(1), until: NOW + Duration::days(9) }));
        let plan = plan(&all(&future), Request::MakeMissing, NOW).unwrap();
        assert!(plan.makes.is_empty() && plan.warnings.iter().all(|w| w.contains("clock")));
    }
}
