//! A generation that keeps the gateway or Temporal from becoming healthy: the last healthy one is put back in its place,
//! as a new one. What was retired since stays retired, what was revoked stays revoked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    artefact::{CA_CERT, JWKS, LeafId, SIGNING_KEY, STATE, TokenId, file},
    inputs::with_revoked,
    judge::{revocations, text},
    overlap::{certificates, cross},
    state::State,
};
use crate::{
    pki::Certificate,
    store::Set,
    tokens::{SigningKey, jwks_without, kids},
};

/// What a generation says of itself when it was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBack {
    /// Its own number: a copy of this in later ones means nothing.
    pub generation: u64,
    /// The one that failed.
    pub refused: u64,
    /// The one whose files it has.
    pub healthy: u64,
    /// How the other one failed, in words.
    pub why: String,
}

/// What is known when a generation fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    /// The one in force.
    pub(super) current: Option<u64>,
    /// The one that failed.
    pub(super) failed: u64,
    /// The last that was healthy.
    pub(super) healthy: Option<u64>,
    /// What the one in force says of itself.
    pub(super) put_back: Option<&'a PutBack>,
}

/// Which one to put back, or why none. One that was put back and fails, too, stays: two that fail must not take turns.
pub(super) fn choose(case: Case<'_>) -> Result<u64, String> {
    let Case { current, failed, healthy, put_back } = case;
    if current != Some(failed) {
        return Err("another generation was published meanwhile".to_owned());
    }
    if let Some(before) = put_back.filter(|before| before.generation == failed) {
        return Err(format!(
            "it is generation {} put back already, for {} failed as well ({}): certificates and keys are not the cause, or both are bad",
            before.healthy, before.refused, before.why
        ));
    }
    match healthy {
        None => Err("no generation before it was seen healthy".to_owned()),
        Some(healthy) if healthy == failed => Err("everything was healthy with it before".to_owned()),
        Some(healthy) => Ok(healthy),
    }
}

/// The files to publish: those of the healthy set, less what the newest no longer trusts, and with all it revoked.
pub(super) fn compose(healthy: &Set, newest: &Set, note: PutBack) -> Result<Set, String> {
    let revoked = revocations(newest).ok_or("what was revoked since can't be read in it")?;
    revocations(healthy).ok_or("what was revoked before can't be read in the healthy one")?;
    let mut set = with_revoked(healthy, &revoked);
    only_trusted_still(&mut set, newest)?;
    only_keys_listed_still(&mut set, newest)?;
    // Requests under way stay answerable.
    for path in LeafId::ALL.map(LeafId::requested_key) {
        if let Some(key) = newest.get(path) {
            set.insert(path.to_owned(), key.clone());
        }
    }
    let mut state = State::of(healthy);
    let trusted = certificates(&set, CA_CERT);
    if !trusted.iter().any(|ca| state.old_ca.as_ref() == Some(&ca.fingerprint)) {
        (state.old_ca, state.overlap_ends) = (None, None);
    }
    let listed = text(&set, JWKS).map(|document| kids(&document)).unwrap_or_default();
    state.old_keys.retain(|kid, _| listed.contains(kid));
    state.published = State::of(newest).published;
    state.put_back = Some(note);
    put(&mut set, STATE, &serde_json::to_string_pretty(&state).map_err(|e| e.to_string())?);
    Ok(set)
}

/// Those that others hold and that are other ones now.
pub(super) fn replaced(newest: &Set, put_back: &Set) -> BTreeSet<&'static str> {
    let held = LeafId::ALL.map(LeafId::cert).into_iter().chain(TokenId::ALL.map(TokenId::path)).chain([CA_CERT]);
    held.filter(|path| newest.get(*path).is_some_and(|file| put_back.get(*path) != Some(file))).collect()
}

/// A CA that was retired since is neither trusted nor served again.
fn only_trusted_still(set: &mut Set, newest: &Set) -> Result<(), String> {
    let (before, now) = (certificates(set, CA_CERT), certificates(newest, CA_CERT));
    let is_kept = |ca: &&Certificate| now.iter().any(|other| other.fingerprint == ca.fingerprint);
    let kept: Vec<_> = before.iter().filter(is_kept).collect();
    let Some(current) = before.first().filter(is_kept) else {
        return Err("its CA is no longer trusted, and trust that was retired is not brought back".to_owned());
    };
    if kept.len() == before.len() {
        return Ok(());
    }
    let trust: String = kept.iter().map(|ca| ca.to_pem()).collect();
    for id in LeafId::ALL {
        let chain = certificates(set, id.cert());
        let bridge = cross(&chain, current).filter(|bridge| kept.iter().all(|ca| bridge.check_issued_by(ca).is_err()));
        if let Some(bridge) = bridge {
            let rest: String = chain.iter().filter(|c| **c != bridge).map(Certificate::to_pem).collect();
            put(set, id.cert(), &rest);
        }
    }
    put(set, CA_CERT, &trust);
    Ok(())
}

/// A signing key that was retired since is not listed again.
fn only_keys_listed_still(set: &mut Set, newest: &Set) -> Result<(), String> {
    let listed = |set: &Set| text(set, JWKS).map(|document| kids(&document)).unwrap_or_default();
    let gone: BTreeSet<_> = listed(set).difference(&listed(newest)).cloned().collect();
    let key = text(set, SIGNING_KEY).and_then(|pem| SigningKey::from_pem(&pem).ok());
    if key.is_none_or(|key| gone.contains(&key.public().kid)) {
        return Err("its signing key is no longer trusted, and trust that was retired is not brought back".to_owned());
    }
    if !gone.is_empty() {
        let document = text(set, JWKS).unwrap_or_default().into_owned();
        let document = jwks_without(&document, &gone).map_err(|e| e.to_string())?;
        put(set, JWKS, &document);
    }
    Ok(())
}

fn put(set: &mut Set, path: &'static str, text: &str) {
    set.insert(path.to_owned(), file(path, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::artefact::REVOCATIONS;

    #[test]
    fn only_a_generation_that_was_healthy_takes_the_place_of_one_that_never_was_and_was_not_put_back_itself() {
        let note = PutBack { generation: 8, refused: 7, healthy: 5, why: "no key".to_owned() };
        let case = |failed, healthy, put_back| choose(Case { current: Some(8), failed, healthy, put_back });
        assert_eq!(case(8, Some(5), None), Ok(5));
        assert!(case(7, Some(5), None).unwrap_err().contains("meanwhile"));
        assert!(case(8, None, None).unwrap_err().contains("no generation before"));
        assert!(case(8, Some(8), None).unwrap_err().contains("healthy with it before"));
        assert!(case(8, Some(5), Some(&note)).unwrap_err().contains("generation 5 put back already, for 7"));
        // What a later generation carries along of it says nothing about that one.
        let older = PutBack { generation: 6, ..note.clone() };
        assert_eq!(case(8, Some(5), Some(&older)), Ok(5));
    }

    #[test]
    fn without_a_readable_list_of_what_was_revoked_nothing_is_put_back() {
        let note = PutBack { generation: 2, refused: 1, healthy: 0, why: String::new() };
        let why = |healthy: &Set, newest: &Set| compose(healthy, newest, note.clone()).err().unwrap();
        assert_eq!(why(&Set::new(), &Set::new()), "what was revoked since can't be read in it");
        let mut newest = Set::new();
        put(&mut newest, REVOCATIONS, "{}");
        assert_eq!(why(&Set::new(), &newest), "what was revoked before can't be read in the healthy one");
    }
}
