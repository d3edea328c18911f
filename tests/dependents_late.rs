//! A bundle that can't be written when its generation is published: who was told then is told again when it is there.

mod docker_scene;
mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use docker_scene::{docker, told};
use faults_support::{assert_serves, in_own_mounts, published, remount, scene_with_bundles};
use nix::mount::MsFlags;

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(50));
    }
}

fn write_protect(bundle: &Path, on: bool) {
    let read_only = if on { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    remount(bundle, MsFlags::MS_BIND | read_only, "");
}

#[tokio::test]
async fn who_was_told_while_a_bundle_could_not_be_written_is_told_again_once_also_by_the_next_process() {
    if !in_own_mounts("who_was_told_while_a_bundle_could_not_be_written_is_told_again_once_also_by_the_next_process") {
        return;
    }
    let (host, asked) = docker();
    let (mut scene, _mounts) = scene_with_bundles();
    scene.set("DOCKER_HOST", &host);
    scene.set("WARDEN_DEPENDENTS", "app");
    let client = published(&scene, "client");
    for crashes in [false, true] {
        let mut warden = scene.warden();
        assert_serves(&scene, "the start").await;
        let before = told(&asked).len();
        write_protect(&client, true);
        scene.done(&["cert", "generate"]);
        until("it is told of the new certificates", || told(&asked).len() > before);
        assert_ne!(
            scene.read("temporal-client.crt"),
            std::fs::read_to_string(client.join("temporal-client.crt")).unwrap()
        );
        if crashes {
            warden.kill();
        }
        write_protect(&client, false);
        let mut next = crashes.then(|| scene.warden());
        until("the bundle comes, and it is told of it", || told(&asked).len() > before + 1);
        assert_eq!(
            scene.read("temporal-client.crt"),
            std::fs::read_to_string(client.join("temporal-client.crt")).unwrap()
        );
        // As long as a row that is needless would take to come.
        sleep(Duration::from_secs(4));
        assert_eq!(told(&asked).len(), before + 2);
        next.as_mut().unwrap_or(&mut warden).kill();
    }
}
