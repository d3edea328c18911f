//! What is renewed by its age alone, year in, year out, and when.

mod material_scene;

use std::{collections::BTreeSet, time::Duration as StdDuration};

use material_scene::{NOW, Scene};
use temporal_warden::{
    pki::Certificate,
    rotation::{Live, Request},
    tokens::{kid, kids},
};
use time::Duration;

fn due(live: &Live, name: &str) -> Duration {
    live.artefacts.iter().find(|a| a.name == name).and_then(|a| a.renew_at).unwrap() - NOW
}

#[test]
fn installations_renew_at_different_times_and_each_renews_all_it_has_in_one_go() {
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let scene = Scene::new();
        let (live, _) = scene.start();
        let server = due(&live, "temporal-server.crt");
        assert!(Duration::days(56) < server && server <= Duration::days(60), "{server}");
        for other in
            ["temporal-client.crt", "bundles/postgres/server.crt", "client-token.jwt", "bundles/ui/ui-token.jwt"]
        {
            assert!((due(&live, other) - server).abs() < Duration::minutes(10), "{other}");
        }
        let again = scene.start().0;
        assert_eq!(due(&again, "temporal-server.crt"), server, "asked again, the same");
        seen.insert(server);
    }
    assert!(seen.len() > 4, "drawn by chance: {seen:?}");
}

#[test]
fn the_signing_key_is_changed_after_a_year_and_tokens_of_the_one_before_go_on_passing_for_another() {
    let mut scene = Scene::new();
    let (live, _) = scene.start();
    assert_eq!(due(&live, "temporal-jwt-private.key"), Duration::days(365));
    let first = scene.read("temporal-jwt-public.key");
    for _ in 0..9 {
        scene.later(Duration::days(40));
        scene.start();
    }
    assert_eq!(scene.read("temporal-jwt-public.key"), first, "360 days");
    scene.later(Duration::days(5));
    let (live, events) = scene.start();
    assert!(events.iter().any(|e| e.to_string().starts_with("made temporal-jwt-private.key: due since")), "{events:?}");
    assert!(live.behind, "tokens wait until all who check them know the key");
    let listed = kids(&scene.read("temporal-jwks.json"));
    assert_eq!(listed.len(), 2);
    scene.start();
    assert_eq!(kids(&scene.read("temporal-jwks.json")).len(), 2, "one change at a time");
    scene.apply(Request::FinishKey).unwrap();
    let key = kid(&scene.read("client-token.jwt")).unwrap();
    assert!(listed.contains(&key));
    let (live, _) = scene.start();
    assert_eq!(due(&live, "temporal-jwt-private.key"), Duration::days(2 * 365));
    assert_eq!(due(&live, "temporal-jwks.json"), Duration::days(2 * 365), "the one before is trusted for a year");
    for _ in 0..9 {
        scene.later(Duration::days(40));
        scene.start();
    }
    scene.later(Duration::days(5));
    scene.start();
    assert!(!kids(&scene.read("temporal-jwks.json")).iter().any(|kid| !listed.contains(kid) && *kid == key));
}

#[test]
fn with_0s_the_signing_key_is_changed_by_hand_only() {
    let mut scene = Scene::new();
    scene.config.tokens.key_ttl = StdDuration::ZERO;
    scene.start();
    let first = scene.read("temporal-jwt-public.key");
    for _ in 0..10 {
        scene.later(Duration::days(50));
        scene.start();
    }
    assert_eq!(scene.read("temporal-jwt-public.key"), first);
}

#[test]
fn after_a_year_switched_off_tokens_come_first_and_the_key_at_the_next_look() {
    let mut scene = Scene::new();
    scene.start();
    let first = scene.read("temporal-jwt-public.key");
    scene.later(Duration::days(400));
    let (live, _) = scene.start();
    assert!(!live.behind && scene.read("temporal-jwt-public.key") == first);
    assert!(live.next_due.is_some_and(|due| due <= scene.now), "it is looked at again at once");
    assert!(scene.start().0.behind);
}

#[test]
fn a_ca_that_reaches_two_thirds_of_its_life_rolls_over_by_itself() {
    let mut scene = Scene::new();
    let (live, _) = scene.start();
    let at = due(&live, "ca.crt");
    let two_thirds: Duration = Duration::days(3650) * 2 / 3;
    assert!((at - two_thirds).abs() < Duration::hours(1), "{at}");
    let old = scene.read("ca.crt");
    scene.later(at - Duration::days(1));
    scene.start();
    assert_eq!(scene.read("ca.crt"), old);
    scene.later(Duration::days(1));
    scene.start();
    let trust = Certificate::all_from_pem(&scene.read("ca.crt")).unwrap();
    assert!(trust.len() == 2 && trust[1].to_pem() == old);
}
