//! A generation with which the gateway or Temporal start and never become healthy: after three starts the last healthy one
//! takes its place.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod roll_back_support;
mod warden_scene;

use std::path::PathBuf;

use faults_support::{assert_serves, backend};
use roll_back_support::{
    authorities, generation, is_revoked, link, log, proven, reaper::Doomed, said_in_log, until, with_a_healthy_one,
};
use warden_scene::Scene;

/// The link to the generation in force, for a thread of its own.
fn in_force(scene: &Scene) -> impl Fn() -> Option<PathBuf> + Send + 'static {
    let data = scene.path("..data");
    move || std::fs::read_link(&data).ok()
}

/// The generation in force now, with which no gateway lives.
fn deadly(scene: &Scene) -> impl Fn() -> bool + Send + 'static {
    let in_force = in_force(scene);
    let bad = in_force();
    move || in_force() == bad
}

#[tokio::test]
async fn a_generation_with_which_the_gateway_dies_at_each_start_is_rolled_back_and_calls_are_answered_again() {
    let scene = Scene::new(&backend());
    let healthy = with_a_healthy_one(&scene);
    let server = scene.read("temporal-server.crt");
    scene.done(&["cert", "generate"]);
    let bad = generation(&scene);
    assert!(bad > healthy && scene.read("temporal-server.crt") != server);
    let warden = Doomed::start(&scene, deadly(&scene));
    until(&scene, "rolled back and healthy", || generation(&scene) == bad + 1 && proven(&scene));
    // A fourth may have begun while the set was put back; the fifth would have ended everything.
    assert!((3..5).contains(&warden.deaths()), "{}", warden.deaths());
    let said = format!(
        "ROLLED BACK: generation {bad} is not in force: gateway was started 3 times with it and never healthy (last exit: \
         killed by SIGKILL)"
    );
    said_in_log(&scene, &said);
    until(&scene, "on record", || scene.acts("RollBack").iter().any(|act| act.contains(&said)));
    assert!(scene.done(&["status"]).contains(&said));
    assert_eq!(scene.read("temporal-server.crt"), server);
    assert_serves(&scene, "a roll back").await;
}

#[tokio::test]
async fn pid_1_killed_between_two_of_the_starts_begins_to_count_again_and_nothing_retired_or_revoked_comes_back() {
    let scene = Scene::new(&backend());
    scene.done(&["cert", "generate", "--rotate-ca"]);
    with_a_healthy_one(&scene);
    let (trusted, jti) = (authorities(&scene), scene.jti("worker-token.jwt"));
    assert_eq!(trusted.len(), 2, "the CA before is still trusted");
    scene.done(&["cert", "retire"]);
    scene.done(&["token", "revoke", &jti]);
    scene.done(&["cert", "generate"]);
    let bad = generation(&scene);
    let warden = Doomed::start(&scene, deadly(&scene));
    until(&scene, "started twice", || warden.deaths() == 2);
    warden.kill();
    assert_eq!(generation(&scene), bad, "two starts are no proof");
    let warden = Doomed::start(&scene, deadly(&scene));
    until(&scene, "rolled back and healthy", || generation(&scene) == bad + 1 && proven(&scene));
    assert!((3..5).contains(&warden.deaths()), "{}", warden.deaths());
    assert_eq!(authorities(&scene), trusted[..1]);
    assert!(is_revoked(&scene, &jti));
    assert_ne!(scene.jti("worker-token.jwt"), jti);
    assert!(scene.run(&["cert", "verify"]).status.success());
    assert_serves(&scene, "a roll back").await;
}

#[tokio::test]
async fn where_the_gateway_dies_with_every_generation_the_warden_gives_up_and_no_two_of_them_take_turns() {
    let scene = Scene::new(&backend());
    with_a_healthy_one(&scene);
    let server = scene.read("temporal-server.crt");
    scene.done(&["cert", "generate"]);
    let bad = generation(&scene);
    // As a container's restart policy does, again and again.
    for _ in 0..3 {
        assert_eq!(Doomed::start(&scene, || true).code(), Some(137), "{}", log(&scene));
        assert_eq!(generation(&scene), bad + 1);
    }
    said_in_log(&scene, "certificates and keys are not the cause, or both are bad");
    assert_eq!(log(&scene).matches("ERROR ROLLED BACK: generation").count(), 1, "{}", log(&scene));
    let _warden = scene.warden();
    until(&scene, "healthy once the cause is gone", || proven(&scene));
    assert_eq!((generation(&scene), scene.read("temporal-server.crt")), (bad + 1, server));
    assert_serves(&scene, "an outage").await;
}

#[test]
fn a_start_limit_below_five_leaves_time_for_a_roll_back() {
    for limit in ["2", "3", "4"] {
        let mut scene = Scene::new(&backend());
        with_a_healthy_one(&scene);
        scene.done(&["token", "generate"]);
        let bad = generation(&scene);
        scene.set("WARDEN_START_LIMIT", limit);
        // Longer than it takes to publish, on a busy machine as well: with two there is no second start to spare.
        scene.set("WARDEN_BACKOFF_BASE", "3s");
        let _warden = Doomed::start(&scene, deadly(&scene));
        until(&scene, "rolled back and healthy", || generation(&scene) == bad + 1 && proven(&scene));
        assert_eq!(link(&scene, "..healthy"), Some(format!("..g{}", bad + 1)), "with a limit of {limit}");
    }
}
