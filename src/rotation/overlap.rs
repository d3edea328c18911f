//! Two CAs trusted at once: which is the old one, what bridges them, and when it may go. Pure.

use std::time::Duration as StdDuration;

use time::OffsetDateTime;

use super::{
    artefact::{CA_CERT, LeafId},
    judge::{span, text},
    state::State,
};
use crate::{pki::Certificate, store::Set};

/// The CA before the current one is still trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The CA before.
    pub(super) old: Certificate,
    /// The current CA signed by it, as leaf chains carry it; `None` when every chain lost it.
    pub(super) cross: Option<Certificate>,
    /// When the last certificate it issued has expired, or it has itself.
    pub(super) ends: OffsetDateTime,
}

/// What the set says. A second certificate in `ca.crt` is the old CA only when `state.json` or a cross-signed
/// certificate says so: one that a user trusts beside ours is not ours to retire.
pub(super) fn of(set: &Set, cert_ttl: StdDuration) -> Option<Overlap> {
    let trust = certificates(set, CA_CERT);
    let [current, others @ ..] = trust.as_slice() else { return None };
    let state = State::of(set);
    let bridge = LeafId::ALL.into_iter().find_map(|id| cross(&certificates(set, id.cert()), current));
    let named = others.iter().find(|c| state.old_ca.as_ref() == Some(&c.fingerprint));
    let signer = |c: &&Certificate| bridge.as_ref().is_some_and(|bridge| bridge.check_issued_by(c).is_ok());
    let old = named.or_else(|| others.iter().find(signer))?.clone();
    let cross = bridge.filter(|bridge| bridge.check_issued_by(&old).is_ok());
    // Without the recorded end: the old CA issued nothing after the new one was made.
    let ends = state.overlap_ends.unwrap_or_else(|| current.not_before + span(cert_ttl));
    Some(Overlap { ends: ends.min(old.not_after), old, cross })
}

/// When the last certificate has expired that the CA of `leafs` can have issued up to `now`: those of the set, and
/// single ones of the usual life.
pub(super) fn end(
    leafs: impl Iterator<Item = OffsetDateTime>,
    old: &Certificate,
    now: OffsetDateTime,
    cert_ttl: StdDuration,
) -> OffsetDateTime {
    leafs.fold(now + span(cert_ttl), OffsetDateTime::max).min(old.not_after)
}

/// The certificate of `chain` that says that another CA signed `current`.
pub(super) fn cross(chain: &[Certificate], current: &Certificate) -> Option<Certificate> {
    chain.iter().skip(1).find(|c| c.subject == current.subject && !c.is_self_issued()).cloned()
}

/// The certificates of a file of the set; none when it is missing or unreadable, which is judged elsewhere.
pub(super) fn certificates(set: &Set, path: &str) -> Vec<Certificate> {
    text(set, path).and_then(|pem| Certificate::all_from_pem(&pem).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        pki::{Authority, Key, Profile},
        rotation::artefact::STATE,
        store::File,
    };

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
    const TTL: StdDuration = StdDuration::from_secs(90 * 86_400);

    struct Two {
        old: Authority,
        new: Authority,
        set: Set,
    }

    fn put(set: &mut Set, path: &str, text: &str) {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        set.insert(path.to_owned(), File { bytes, mode: 0o644, gid: None });
    }

    /// Two CAs, the old made to live `old_life` days, and a server chain with or without the bridge.
    fn two(old_life: i64, bridged: bool) -> Two {
        let old = Authority::create(NOW - Duration::days(1), Duration::days(old_life)).unwrap();
        let new = Authority::create(NOW, Duration::days(3650)).unwrap();
        let profile = Profile::Client { cn: "temporal-client".to_owned() };
        let leaf = new.issue(&profile, &Key::generate().unwrap(), NOW, Duration::days(90)).unwrap();
        let cross = old.cross_sign(&new, NOW).unwrap();
        let mut set = Set::new();
        put(&mut set, CA_CERT, &format!("{}{}", new.trust_pem(), old.trust_pem()));
        let chain = if bridged { format!("{}{cross}", leaf.chain_pem) } else { leaf.chain_pem };
        put(&mut set, LeafId::Ui.cert(), &chain);
        Two { old, new, set }
    }

    #[test]
    fn one_ca_is_no_overlap_and_a_strangers_beside_it_is_none_either() {
        let Two { new, mut set, .. } = two(3650, false);
        assert_eq!(of(&set, TTL), None);
        put(&mut set, CA_CERT, &new.trust_pem());
        assert_eq!(of(&set, TTL), None);
        assert_eq!(of(&Set::new(), TTL), None);
    }

    #[test]
    fn the_bridge_in_any_chain_tells_the_old_ca_when_the_state_is_lost() {
        let Two { old, new, set } = two(3650, true);
        let overlap = of(&set, TTL).unwrap();
        assert_eq!(overlap.old.fingerprint, old.certificate().fingerprint);
        assert!(overlap.cross.is_some());
        assert_eq!(overlap.ends, new.certificate().not_before + Duration::days(90));
    }

    #[test]
    fn the_state_tells_it_when_every_bridge_is_lost_and_tells_the_end() {
        let Two { old, mut set, .. } = two(3650, false);
        let ends = NOW + Duration::days(17);
        let state =
            State { old_ca: Some(old.certificate().fingerprint.clone()), overlap_ends: Some(ends), ..State::default() };
        put(&mut set, STATE, &serde_json::to_string(&state).unwrap());
        let overlap = of(&set, TTL).unwrap();
        assert_eq!((overlap.ends, overlap.cross), (ends, None));
    }

    #[test]
    fn the_overlap_ends_with_the_last_certificate_and_never_after_the_old_ca() {
        let Two { old, set, .. } = two(20, true);
        assert_eq!(of(&set, TTL).unwrap().ends, old.certificate().not_after);
        let far = two(3650, true);
        let leafs = [NOW + Duration::days(5), NOW + Duration::days(120)];
        let end = |old: &Authority, leafs: &[_]| end(leafs.iter().copied(), old.certificate(), NOW, TTL);
        assert_eq!(end(&far.old, &leafs), leafs[1]);
        assert_eq!(end(&far.old, &leafs[..1]), NOW + Duration::days(90));
        assert_eq!(end(&old, &leafs), old.certificate().not_after);
    }
}
