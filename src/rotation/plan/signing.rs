//! What of signing keys and tokens is to be made.

use time::OffsetDateTime;

use super::{Drop, Item, Plan, REVOKED, Request, stale};
use crate::rotation::judge::{Judged, Judgement, date};

/// Keys first: which tokens are made depends on them.
pub(super) fn plan_signing(judged: &Judged, request: Request, now: OffsetDateTime, plan: &mut Plan) {
    plan_keys(judged, request, now, plan);
    plan_tokens(judged, request, plan);
    plan_bound_tokens(judged, plan);
}

fn plan_keys(judged: &Judged, request: Request, now: OffsetDateTime, plan: &mut Plan) {
    plan.add_missing(Item::SigningKey, &judged.signing_key);
    if judged.signing_key.problem().is_some() {
        return;
    }
    plan.add_missing(Item::PublicKey, &judged.public_key);
    plan.add_missing(Item::Jwks, &judged.jwks);
    let ended = judged.old_keys.values().any(|end| *end <= now);
    match request {
        Request::RotateKey if judged.signing_key.is_there() => plan.add(Item::NextKey { by_age: false }, "asked for"),
        // While tokens are still those of the key before, that key is in use.
        _ if judged.behind => {}
        Request::RetireKeys if !judged.old_keys.is_empty() => plan.add(Item::DropKeys(Drop::All), "asked for"),
        Request::RetireKeys => {
            plan.warnings.push("only one signing key of the warden's is trusted: there is none to retire".to_owned());
        }
        Request::MakeMissing => {
            if ended {
                plan.add(Item::DropKeys(Drop::Ended), "its last token has expired");
            }
            plan_next_key(judged, now, plan);
        }
        _ => {}
    }
}

/// By age the signing key is changed when nothing else needs a token now: those of the new key come later.
fn plan_next_key(judged: &Judged, now: OffsetDateTime, plan: &mut Plan) {
    let Some(due) = judged.key_due.filter(|due| *due <= now && judged.signing_key.is_there()) else { return };
    let bound = judged.binding && plan.makes.iter().any(|make| matches!(make.item, Item::Leaf(..)));
    let usable = judged.tokens.values().all(|token| token.window().is_some_and(|window| now < window.until));
    if usable && !bound {
        plan.add(Item::NextKey { by_age: true }, format!("due since {}", date(due)));
    }
}

fn plan_tokens(judged: &Judged, request: Request, plan: &mut Plan) {
    if judged.signing_key.problem().is_some() {
        return;
    }
    let new_key = plan.makes.iter().any(|make| matches!(make.item, Item::NextKey { .. }));
    for (id, judgement) in &judged.tokens {
        match (request, judgement) {
            (Request::Tokens, _) => plan.add(Item::Token(*id), "asked for"),
            (Request::FinishKey, _) if judged.behind => plan.add(Item::Token(*id), "signed by the new key"),
            (_, Judgement::Missing) => plan.add(Item::Token(*id), "missing"),
            // Replaced by the key before they can't be, by the new one not yet: the second half makes all of them.
            _ if judged.behind || new_key || request == Request::RotateKey => {}
            (_, Judgement::Revoked(_)) => plan.add(Item::Token(*id), REVOKED),
            _ => {
                if let Some(reason) = stale(judgement, request) {
                    plan.add(Item::Token(*id), reason);
                }
            }
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
