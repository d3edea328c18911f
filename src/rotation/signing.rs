//! Judging the token signing key, its public forms, and the tokens.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{
    artefact::{JWKS, PUBLIC_KEY, SIGNING_KEY, TokenId},
    judge::{Judgement, Scene, Window, by_time, span, text},
    leafs,
    state::State,
};
use crate::{
    config::{Config, EngineKind},
    gateway::link::Revocations,
    store::Set,
    tokens::{Refusal, SigningKey, Verifier, jwks, kid, kids, readable},
};

/// What is known of the signing key.
pub(super) struct Keys {
    pub(super) private: Judgement,
    pub(super) public: Judgement,
    pub(super) jwks: Judgement,
    verifier: Option<Verifier>,
}

pub(super) fn judge(set: &Set, scene: &Scene<'_>) -> Keys {
    let none = |private| Keys { private, public: Judgement::Missing, jwks: Judgement::Missing, verifier: None };
    let fix = format!(
        "restore it from a backup, or remove every *jwt* and *jwks* file in {}/..data",
        scene.config.certs.dir.display()
    );
    let Some(pem) = text(set, SIGNING_KEY) else {
        let orphans = [PUBLIC_KEY, JWKS].into_iter().chain(TokenId::ALL.map(TokenId::path));
        let orphan = orphans.into_iter().find(|path| set.contains_key(*path));
        return none(match orphan {
            None => Judgement::Missing,
            Some(path) => scene.problem(SIGNING_KEY, format!("is missing although {path} is there"), fix),
        });
    };
    let key = match SigningKey::from_pem(&pem) {
        Ok(key) => key,
        Err(e) => return none(scene.problem(SIGNING_KEY, e, fix)),
    };
    let public = match text(set, PUBLIC_KEY) {
        None => Judgement::Missing,
        Some(pem) if pem.trim_end() == key.public_pem().trim_end() => Judgement::Good(None),
        Some(_) => {
            let what = "is not the public half of temporal-jwt-private.key";
            scene.problem(PUBLIC_KEY, what, scene.remove_fix(PUBLIC_KEY))
        }
    };
    let (jwks, verifier) = judge_jwks(&key, set, scene);
    Keys { private: Judgement::Good(None), public, jwks, verifier }
}

fn judge_jwks(key: &SigningKey, set: &Set, scene: &Scene<'_>) -> (Judgement, Option<Verifier>) {
    let tokens = &scene.config.tokens;
    let Some(document) = text(set, JWKS) else {
        let own = jwks([key.public()]);
        return (Judgement::Missing, Verifier::new(&own, &tokens.issuer, &tokens.audience).ok());
    };
    let verifier = Verifier::new(&document, &tokens.issuer, &tokens.audience);
    let read = if is_read_by_temporal(scene.config) { readable(&document) } else { Ok(()) };
    match read.and(verifier) {
        Err(e) => (scene.problem(JWKS, e, scene.remove_fix(JWKS)), None),
        Ok(verifier) if verifier.knows(&key.public().kid) => (Judgement::Good(None), Some(verifier)),
        Ok(_) => {
            let what = "does not list the key of temporal-jwt-private.key";
            (scene.problem(JWKS, what, scene.remove_fix(JWKS)), None)
        }
    }
}

/// Whether a Temporal of ours checks tokens by the document as well.
fn is_read_by_temporal(config: &Config) -> bool {
    config.engine == EngineKind::Server && config.auth_enabled
}

/// Keys before the current one that the JWKS still lists, and when each leaves it. A key that a user added is not ours.
pub(super) fn old_keys(set: &Set) -> BTreeMap<String, OffsetDateTime> {
    let listed = text(set, JWKS).map(|document| kids(&document)).unwrap_or_default();
    let ours = State::of(set).old_keys.into_iter().filter(|(kid, _)| listed.contains(kid));
    ours.map(|(kid, end)| (kid, end.0)).collect()
}

/// When the current key is to be changed for its age.
pub(super) fn due(set: &Set, config: &Config) -> Option<OffsetDateTime> {
    let life = span(config.tokens.key_ttl);
    State::of(set).signing_key_since.filter(|_| !life.is_zero()).map(|since| since + life)
}

/// Whether a token of the set is signed by a key that is trusted but no longer the current one.
pub(super) fn behind(set: &Set) -> bool {
    let current = text(set, SIGNING_KEY).and_then(|pem| SigningKey::from_pem(&pem).ok());
    let (Some(current), Some(document)) = (current, text(set, JWKS)) else { return false };
    let listed = kids(&document);
    let signed_by = TokenId::ALL.iter().filter_map(|id| kid(text(set, id.path())?.as_ref()));
    signed_by.into_iter().any(|kid| kid != current.public().kid && listed.contains(&kid))
}

impl Keys {
    /// Where the keys themselves are broken, tokens can't be judged; the keys' problem is the one to report.
    pub(super) fn judge_token(&self, id: TokenId, set: &Set, scene: &Scene<'_>, revoked: &Revocations) -> Judgement {
        let Some(token) = text(set, id.path()) else { return Judgement::Missing };
        let Some(verifier) = &self.verifier else { return Judgement::Good(None) };
        let fix = || "restore it, or mint new tokens with generate-jwt-tokens.sh".to_owned();
        let over = Window::new(scene.now, scene.now);
        let stale = |reason: String, by_time| Judgement::Stale { window: over, reason, by_time };
        // A future start means that the clock went back: judged at the moment it begins.
        let judged = match verifier.verify(&token, scene.now) {
            Err(Refusal::NotYetValid { from }) => verifier.verify(&token, from),
            judged => judged,
        };
        match judged {
            Ok(verified) if verified.sub != id.sub() || verified.scopes != id.scope().into() => {
                let what = format!("is a token of {} with scope {}", verified.sub, verified.scopes);
                scene.problem(id.path(), what, fix())
            }
            Ok(verified) if verified.cnf_x5t != leafs::binding(id, set, scene.config) => {
                stale("is not bound as WARDEN_TOKEN_BINDING and its certificate ask".to_owned(), false)
            }
            Ok(verified) => {
                let window = Window::new(verified.not_before, verified.expires).early(leafs::early(set));
                by_time(window, scene.now).unless_revoked(revoked.jti.contains(&verified.jti))
            }
            Err(refusal @ Refusal::Expired { .. }) => stale(refusal.to_string(), true),
            Err(refusal @ (Refusal::WrongIssuer { .. } | Refusal::WrongAudience { .. })) => {
                stale(refusal.to_string(), false)
            }
            Err(refusal) => scene.problem(id.path(), format!("is not ours: {refusal}"), fix()),
        }
    }
}
