//! Tables of what is due.

use std::collections::BTreeMap;

use time::{Duration, macros::datetime};

use super::*;
use crate::{
    pki::Authority,
    rotation::{judge::Window, overlap::Overlap},
};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

fn good() -> Judgement {
    Judgement::Good(Some(Window::new(NOW - Duration::days(1), NOW + Duration::days(89))))
}

fn stale(until: OffsetDateTime) -> Judgement {
    let window = Window::new(NOW - Duration::days(90), until);
    Judgement::Stale { window, reason: "due".to_owned(), by_time: true }
}

fn broken(name: &str) -> Judgement {
    Judgement::Broken(Problem { path: name.into(), what: "is bad".to_owned(), fix: "mend it".to_owned() })
}

fn all(judgement: &Judgement) -> Judged {
    let one = || judgement.clone();
    Judged {
        authority: one(),
        issuing: Issuing::Possible,
        own_ca: false,
        overlap: None,
        new_trust: None,
        unsealed: None,
        leafs: LeafId::ALL.into_iter().map(|id| (id, one())).collect(),
        signing_key: one(),
        public_key: one(),
        jwks: one(),
        old_keys: BTreeMap::new(),
        behind: false,
        key_due: None,
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
    for request in [Request::Certificates { keep_keys: true }, Request::RotateCa { keep_keys: true }] {
        assert!(request.mints(true) && !request.mints(false));
        let all = items(&judged, request);
        assert!(TokenId::ALL.iter().all(|id| all.iter().filter(|item| **item == Item::Token(*id)).count() == 1));
    }
}

fn revoked() -> Judgement {
    Judgement::Revoked(Window::new(NOW, NOW + Duration::days(9)))
}

#[test]
fn what_is_revoked_is_replaced_and_a_certificate_gets_a_new_key() {
    let mut judged = all(&good());
    judged.leafs.insert(LeafId::Worker, revoked());
    judged.tokens.insert(TokenId::Client, revoked());
    let (leaf, token) = (Item::Leaf(LeafId::Worker, KeyChoice::New), Item::Token(TokenId::Client));
    assert_eq!(items(&judged, Request::MakeMissing), [leaf, token, Item::State]);
    assert_eq!(items(&judged, Request::Timeless), [leaf, token, Item::State]);
    assert_eq!(items(&judged, Request::Revoke), [leaf, token, Item::Revocations, Item::State]);
    assert!(items(&judged, Request::Certificates { keep_keys: true }).contains(&leaf));
    let rolled = items(&judged, Request::RotateCa { keep_keys: true });
    assert!(rolled.contains(&leaf) && rolled.contains(&token), "{rolled:?}");
    judged.overlap = Some(overlap(NOW + Duration::days(80)));
    assert_eq!(items(&judged, Request::RetireCa), [Item::Retirement, leaf, token, Item::State]);
}

#[test]
fn a_revoked_token_waits_for_the_second_half_of_a_new_key_unless_its_certificate_goes_too() {
    let mut judged = all(&good());
    judged.tokens.insert(TokenId::Worker, revoked());
    assert_eq!(items(&judged, Request::RotateKey), [Item::NextKey { by_age: false }, Item::State]);
    judged.behind = true;
    assert_eq!(items(&judged, Request::Revoke), [Item::Revocations, Item::State]);
    assert_eq!(items(&judged, Request::MakeMissing), []);
    assert!(items(&judged, Request::FinishKey).contains(&Item::Token(TokenId::Worker)));
    (judged.binding, judged.leafs) = (true, all(&good()).leafs);
    judged.leafs.insert(LeafId::Worker, revoked());
    let pair = [Item::Leaf(LeafId::Worker, KeyChoice::New), Item::Token(TokenId::Worker)];
    assert_eq!(items(&judged, Request::Revoke), [&pair[..], &[Item::Revocations, Item::State]].concat());
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
    let future = Judgement::Good(Some(Window::new(NOW + Duration::days(1), NOW + Duration::days(9))));
    let plan = plan(&all(&future), Request::MakeMissing, NOW).unwrap();
    assert!(plan.makes.is_empty() && plan.warnings.iter().all(|w| w.contains("clock")));
}

fn due_authority(life_left: Duration) -> Judgement {
    Judgement::Good(Some(Window::new(NOW - Duration::days(2000), NOW + life_left)))
}

fn overlap(ends: OffsetDateTime) -> Overlap {
    let old = Authority::create(NOW - Duration::days(9), Duration::days(100)).unwrap().certificate().clone();
    Overlap { old, cross: None, ends }
}

#[test]
fn a_ca_rolls_over_at_two_thirds_of_its_life_and_every_leaf_keeps_its_key() {
    let mut judged = all(&good());
    judged.authority = due_authority(Duration::days(1001));
    assert_eq!(items(&judged, Request::MakeMissing), []);
    judged.authority = due_authority(Duration::days(1000));
    let due = items(&judged, Request::MakeMissing);
    assert_eq!(due.first(), Some(&Item::Rollover));
    assert!(LeafId::ALL.iter().all(|id| due.contains(&Item::Leaf(*id, KeyChoice::Keep))), "{due:?}");
    assert_eq!(due.len(), 1 + 5 + 1);
}

#[test]
fn a_ca_that_is_not_ours_or_without_key_or_in_an_overlap_does_not_roll_over_by_age() {
    let mut judged = all(&good());
    judged.authority = due_authority(Duration::days(1));
    let own = Judged { own_ca: true, ..judged.clone() };
    let offline = Judged { issuing: Issuing::Offline { fix: "give the key".to_owned() }, ..judged.clone() };
    let overlapping = Judged { overlap: Some(overlap(NOW + Duration::days(1))), ..judged };
    for judged in [own, offline, overlapping] {
        assert_eq!(items(&judged, Request::MakeMissing), []);
        let problems = plan(&judged, Request::RotateCa { keep_keys: false }, NOW).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn a_rollover_by_hand_makes_new_leaf_keys_unless_they_are_to_be_kept() {
    for (keep_keys, choice) in [(false, KeyChoice::New), (true, KeyChoice::Keep)] {
        let items = items(&all(&good()), Request::RotateCa { keep_keys });
        assert_eq!(items[0], Item::Rollover);
        assert!(LeafId::ALL.iter().all(|id| items.contains(&Item::Leaf(*id, choice))), "{items:?}");
        assert!(!items.iter().any(|item| item.is_token()));
    }
    let first = items(&all(&Judgement::Missing), Request::RotateCa { keep_keys: false });
    assert!(first.contains(&Item::Authority) && !first.contains(&Item::Rollover));
}

#[test]
fn the_old_ca_goes_when_the_overlap_ends_or_when_told() {
    let with = |ends| Judged { overlap: Some(overlap(ends)), ..all(&good()) };
    assert_eq!(items(&with(NOW + Duration::seconds(1)), Request::MakeMissing), []);
    assert_eq!(items(&with(NOW), Request::MakeMissing), [Item::Retirement, Item::State]);
    assert_eq!(items(&with(NOW + Duration::days(80)), Request::RetireCa), [Item::Retirement, Item::State]);
    let none = plan(&all(&good()), Request::RetireCa, NOW).unwrap();
    assert!(none.makes.is_empty() && none.warnings[0].contains("only one CA"));
}

#[test]
fn a_new_signing_key_comes_first_its_tokens_second_and_the_old_key_goes_last() {
    let mut judged = all(&good());
    assert_eq!(items(&judged, Request::RotateKey), [Item::NextKey { by_age: false }, Item::State]);
    judged.behind = true;
    judged.old_keys = BTreeMap::from([("old".to_owned(), NOW)]);
    judged.tokens.insert(TokenId::Ui, stale(NOW + Duration::days(1)));
    assert_eq!(items(&judged, Request::MakeMissing), [], "no token by a key that not all know yet");
    assert_eq!(items(&judged, Request::RetireKeys), []);
    let finish = items(&judged, Request::FinishKey);
    assert!(TokenId::ALL.iter().all(|id| finish.contains(&Item::Token(*id))) && finish.len() == 5, "{finish:?}");
    (judged.behind, judged.tokens) = (false, all(&good()).tokens);
    assert_eq!(items(&judged, Request::FinishKey), []);
    assert_eq!(items(&judged, Request::MakeMissing), [Item::DropKeys(Drop::Ended), Item::State]);
    judged.old_keys = BTreeMap::from([("old".to_owned(), NOW + Duration::days(1))]);
    assert_eq!(items(&judged, Request::MakeMissing), []);
    assert_eq!(items(&judged, Request::RetireKeys), [Item::DropKeys(Drop::All), Item::State]);
}

#[test]
fn while_the_clock_is_in_doubt_nothing_is_renewed_or_retired_for_its_sake() {
    let mut judged = all(&stale(NOW - Duration::days(1)));
    judged.authority = due_authority(Duration::days(1));
    judged.old_keys = BTreeMap::from([("old".to_owned(), NOW)]);
    assert_eq!(items(&judged, Request::Timeless), []);
    judged.overlap = Some(overlap(NOW));
    assert_eq!(items(&judged, Request::Timeless), []);
    let window = Window::new(NOW, NOW + Duration::days(9));
    let names = Judgement::Stale { window, reason: "lacks a name".to_owned(), by_time: false };
    judged.leafs.insert(LeafId::Server, names);
    judged.tokens.insert(TokenId::Ui, Judgement::Missing);
    let server = Item::Leaf(LeafId::Server, KeyChoice::Keep);
    assert_eq!(items(&judged, Request::Timeless), [server, Item::Token(TokenId::Ui), Item::State]);
}

#[test]
fn a_broken_state_blocks_what_would_write_into_it() {
    let judged = Judged { state: broken("state.json"), ..all(&good()) };
    for request in [Request::RotateCa { keep_keys: false }, Request::RetireCa, Request::RotateKey, Request::RetireKeys]
    {
        assert!(plan(&judged, request, NOW).is_err(), "{request:?}");
    }
    assert!(plan(&judged, Request::Tokens, NOW).is_ok());
}

#[test]
fn tokens_are_renewed_by_time_and_only_then() {
    let mut judged = all(&good());
    judged.tokens.insert(TokenId::Worker, stale(NOW + Duration::days(1)));
    assert_eq!(items(&judged, Request::MakeMissing), [Item::Token(TokenId::Worker), Item::State]);
    assert_eq!(items(&judged, Request::Timeless), []);
}

#[test]
fn a_signing_key_is_changed_by_age_and_its_tokens_wait_for_the_second_half() {
    let mut judged = Judged { key_due: Some(NOW + Duration::SECOND), ..all(&good()) };
    assert_eq!(items(&judged, Request::MakeMissing), []);
    judged.key_due = Some(NOW);
    let next = Item::NextKey { by_age: true };
    assert_eq!(items(&judged, Request::MakeMissing), [next, Item::State]);
    assert_eq!(items(&judged, Request::Timeless), [], "not on a clock in doubt");
    judged.tokens.insert(TokenId::Ui, stale(NOW + Duration::days(1)));
    judged.leafs.insert(LeafId::Ui, stale(NOW + Duration::days(1)));
    let leaf = Item::Leaf(LeafId::Ui, KeyChoice::Keep);
    assert_eq!(items(&judged, Request::MakeMissing), [leaf, next, Item::State], "no token by a key not yet known");
    let bound = Judged { binding: true, ..judged.clone() };
    assert_eq!(
        items(&bound, Request::MakeMissing),
        [leaf, Item::Token(TokenId::Ui), Item::State],
        "the key comes next"
    );
    judged.tokens.insert(TokenId::Ui, Judgement::Missing);
    assert_eq!(items(&judged, Request::MakeMissing), [leaf, Item::Token(TokenId::Ui), Item::State]);
    judged.behind = true;
    judged.tokens.insert(TokenId::Ui, good());
    assert_eq!(items(&judged, Request::MakeMissing), [leaf, Item::State], "one change of the key at a time");
}

#[test]
fn what_somebody_else_signed_is_published_with_what_it_makes_due_and_nothing_by_time() {
    let mut judged = all(&good());
    judged.issuing = Issuing::Offline { fix: "give the key".to_owned() };
    assert_eq!(items(&judged, Request::Install), [Item::Signed, Item::State]);
    judged.tokens.insert(TokenId::Ui, stale(NOW + Duration::days(1)));
    judged.leafs.insert(LeafId::Worker, broken("worker"));
    judged.tokens.insert(TokenId::Worker, Judgement::Missing);
    let plan = plan(&judged, Request::Install, NOW).unwrap();
    let made: Vec<_> = plan.makes.iter().map(|make| make.item).collect();
    assert_eq!(made, [Item::Signed, Item::Token(TokenId::Worker), Item::State]);
    assert!(plan.warnings.iter().any(|w| w.contains("worker is bad")), "one leaf that is broken keeps none out");
}

#[test]
fn a_ca_key_in_clear_is_encrypted_where_it_is_ours_and_told_where_it_is_not() {
    let clear =
        Some(Problem { path: "ca.key".into(), what: "is not encrypted".to_owned(), fix: "encrypt it".to_owned() });
    let judged = Judged { unsealed: clear, ..all(&good()) };
    assert_eq!(items(&judged, Request::MakeMissing), [Item::SealKey, Item::State]);
    assert_eq!(items(&judged, Request::Tokens).len(), TokenId::ALL.len() + 1);
    let own = plan(&Judged { own_ca: true, ..judged }, Request::MakeMissing, NOW).unwrap();
    assert!(own.makes.is_empty() && own.warnings[0].contains("encrypt it"));
}
