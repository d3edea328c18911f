//! Judging leaf certificates and their keys.

use std::collections::BTreeSet;

use super::{
    artefact::{LeafId, TokenId},
    authority::{Found, Issuing},
    judge::{Judgement, Scene, Window, by_time, text},
    overlap::certificates,
};
use crate::{
    config::{Config, SanName},
    gateway::link::Revocations,
    pki::{Certificate, Key, Purpose, verify},
    store::Set,
    tokens::Confirmation,
};

pub(super) fn judge(id: LeafId, set: &Set, scene: &Scene<'_>, authority: &Found) -> Judgement {
    let (Some(cert), key) = (text(set, id.cert()), text(set, id.key())) else { return judge_key(id, set, scene) };
    let fix = || "restore it, or make new leaf certificates with generate-certs.sh".to_owned();
    let chain = match Certificate::all_from_pem(&cert) {
        Ok(chain) => chain,
        Err(e) => return scene.problem(id.cert(), e, fix()),
    };
    // Without its key a certificate is of no use, and a new pair costs nothing.
    let Some(key) = key else { return Judgement::Missing };
    let key = match Key::from_pem(&key) {
        Ok(key) => key,
        Err(e) => return scene.problem(id.key(), e, fix()),
    };
    if let Err(e) = chain[0].check_key(&key) {
        return scene.problem(id.key(), e, fix());
    }
    let window = Window::new(chain[0].not_before, chain[0].not_after).early(early(set));
    if !authority.trust.is_empty() {
        // Names and signatures at a moment the leaf is valid; its own times are judged below.
        let at = window.clamp(scene.now);
        if let Err(e) = verify(&chain, &authority.trust, id.purpose(), at) {
            return scene.problem(id.cert(), format!("is not ours: {e}"), fix());
        }
    }
    if authority.issuing == Issuing::Possible {
        if let Some(other) = other_name(id, &chain[0]) {
            return scene.problem(id.cert(), other, fix());
        }
        if let Some(reason) = other_sans(id, &chain[0], scene) {
            return Judgement::Stale { window, reason, by_time: false };
        }
    } else if let Some(lacking) = lacking_sans(id, &chain[0], scene) {
        return Judgement::Stale { window, reason: lacking, by_time: false };
    }
    by_time_and_authority(window, scene, authority)
}

/// How much earlier than others this installation renews: by chance, and the same for all of its leafs and tokens, so
/// that they are renewed in one go. The serial of the server's leaf is that chance, drawn anew at each renewal.
pub(super) fn early(set: &Set) -> u32 {
    let serial = certificates(set, LeafId::Server.cert()).into_iter().next().map(|leaf| leaf.serial);
    let tail = serial.as_ref().and_then(|serial| serial.get(serial.len().saturating_sub(8)..));
    tail.and_then(|tail| u32::from_str_radix(tail, 16).ok()).unwrap_or_default()
}

/// Whether the certificate found is revoked.
pub(super) fn is_revoked(id: LeafId, set: &Set, revoked: &Revocations) -> bool {
    let chain = text(set, id.cert()).and_then(|pem| Certificate::all_from_pem(&pem).ok());
    id.purpose() == Purpose::Client && chain.is_some_and(|chain| revoked.serials.contains(&chain[0].serial))
}

/// What a token is bound to: the certificate beside it in the set and its key, where the configuration asks for that.
pub(super) fn binding(id: TokenId, set: &Set, config: &Config) -> Option<Confirmation> {
    let pem = text(set, id.leaf().cert()).filter(|_| config.tokens.binding)?;
    Certificate::all_from_pem(&pem).ok().map(|chain| Confirmation::of(&chain[0]))
}

/// A key whose certificate is missing is kept for the next one, unless it is none.
fn judge_key(id: LeafId, set: &Set, scene: &Scene<'_>) -> Judgement {
    match text(set, id.key()).map(|key| Key::from_pem(&key)) {
        Some(Err(e)) => scene.problem(id.key(), e, scene.remove_fix(id.key())),
        _ => Judgement::Missing,
    }
}

/// Two client pairs exchanged would still verify: they are told apart by name.
fn other_name(id: LeafId, leaf: &Certificate) -> Option<String> {
    let wanted = id.client_name()?;
    let held = leaf.common_name.as_deref().unwrap_or("no name");
    (held != wanted).then(|| format!("is the certificate of {held}, not of {wanted}"))
}

fn other_sans(id: LeafId, leaf: &Certificate, scene: &Scene<'_>) -> Option<String> {
    let wanted: BTreeSet<SanName> = id.sans(scene.config).iter().cloned().collect();
    let list = |names: Vec<&SanName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if wanted.is_empty() || wanted == leaf.sans {
        return None;
    }
    let (more, less) = (list(wanted.difference(&leaf.sans).collect()), list(leaf.sans.difference(&wanted).collect()));
    Some(match (more.is_empty(), less.is_empty()) {
        (false, true) => format!("lacks the names {more}"),
        (true, _) => format!("has names no longer wanted: {less}"),
        (false, false) => format!("lacks the names {more} and has {less}"),
    })
}

/// Somebody else's CA may certify more names than are asked for, not fewer.
pub(super) fn lacking_sans(id: LeafId, leaf: &Certificate, scene: &Scene<'_>) -> Option<String> {
    let wanted = id.sans(scene.config).iter();
    let lacking: Vec<_> = wanted.filter(|name| !leaf.sans.contains(name)).map(ToString::to_string).collect();
    (!lacking.is_empty()).then(|| format!("lacks the names {}", lacking.join(", ")))
}

/// A leaf that already ends with its CA gains nothing from being issued again.
fn by_time_and_authority(window: Window, scene: &Scene<'_>, authority: &Found) -> Judgement {
    let judgement = by_time(window, scene.now);
    let end = authority.judgement.window().map(|w| w.until);
    match judgement {
        Judgement::Stale { .. } if scene.now < window.until && end.is_some_and(|end| end <= window.until) => {
            Judgement::Good(Some(window))
        }
        other => other,
    }
}
