//! What PID 1 leaves when it is killed before any single change it makes to its files: every such state is taken up.
//!
//! A process that is gone leaves only its files, so the state is taken at the entrance of each change of a real run, and
//! a start is tried on every one that differs. tests/faults_kill.rs kills for good, at each kind of step.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Instant,
};

use faults_support::{
    Own, assert_serves, backend, in_own_mounts, mount_bundles, scene_with_bundles,
    states::{Left, Starts},
    trace::{End, Traced},
    witness::names,
};
use warden_scene::Scene;

/// Each state once, and before which change it was taken first.
#[derive(Default)]
struct States {
    seen: BTreeMap<Left, String>,
    changes: usize,
}

impl States {
    fn take(&mut self, scene: &Scene, before: &str) {
        self.changes += 1;
        self.seen.entry(Left::read(scene.folder.path())).or_insert_with(|| before.to_owned());
    }

    /// Starts on every `FAULTS_STRIDE`-th of them, on all with 1.
    fn check(self, starts: &Starts, kept: &BTreeSet<Vec<u8>>, what: &str) {
        let stride = std::env::var("FAULTS_STRIDE").map_or(8, |text| text.parse().unwrap());
        let (began, states) = (Instant::now(), self.seen.len());
        for (left, before) in self.seen.iter().step_by(stride) {
            starts.check(left, kept, &format!("{what} and a kill before {before}"));
        }
        let tried = states.div_ceil(stride);
        println!(
            "{what}: {} changes leave {states} states, a start on {tried} of them, {:.0?}",
            self.changes,
            began.elapsed()
        );
    }
}

/// CA and signing keys in force now.
fn keys(scene: &Scene) -> impl Iterator<Item = Vec<u8>> {
    ["ca.key", "temporal-jwt-private.key"].map(|name| fs::read(scene.path(name))).into_iter().flatten()
}

/// In this order each can be asked for: there is an old CA to retire after a new one, and an old signing key.
const ROTATIONS: [&[&str]; 6] = [
    &["cert", "generate"],
    &["cert", "generate", "--rotate-ca"],
    &["cert", "retire"],
    &["token", "generate"],
    &["token", "generate", "--rotate-key"],
    &["token", "retire"],
];

#[tokio::test]
async fn before_every_change_of_a_rotation_the_files_are_what_a_next_start_serves() {
    if !in_own_mounts("before_every_change_of_a_rotation_the_files_are_what_a_next_start_serves") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    // As many generations as are kept: then each publication removes one.
    (0..3).for_each(|_| drop(scene.done(&["token", "generate"])));
    let _own = Own::plant(&scene);
    let starts = Starts::of(&scene);
    for args in ROTATIONS {
        let mut kept: BTreeSet<_> = keys(&scene).collect();
        let mut warden = scene.warden();
        assert_serves(&scene, "the start").await;
        let traced = Traced::seize(warden.pid());
        let mut command = scene.command(args);
        let asking = thread::spawn(move || command.output().unwrap());
        let mut states = States::default();
        let end = traced.look_before_each(|| asking.is_finished(), |change| states.take(&scene, &change.to_string()));
        let output = asking.join().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(matches!(end, End::Passed(_)), "{args:?}: {end:?}");
        warden.kill();
        kept.extend(keys(&scene));
        states.check(&starts, &kept, &format!("{args:?}"));
    }
}

/// Files as a user restores them from a backup: no links, no generation, and open to everybody.
fn lay_flat(donor: &Scene, scene: &Scene) {
    let folder = scene.folder.path().join("certs");
    for name in names(&folder) {
        fs::copy(donor.path(name), folder.join(name)).unwrap();
    }
}

#[test]
fn before_every_change_of_a_first_start_the_files_are_what_a_next_start_serves() {
    if !in_own_mounts("before_every_change_of_a_first_start_the_files_are_what_a_next_start_serves") {
        return;
    }
    let upstream = backend();
    // What it made is due from the beginning: the start that finds it renews it.
    let mut donor = Scene::empty(&upstream);
    donor.set("WARDEN_CERT_TTL", "2m");
    donor.done(&["init"]);
    for flat in [false, true] {
        let mut scene = Scene::empty(&upstream);
        scene.set("WARDEN_POSTGRES_SANS", "postgres");
        let _mounts = mount_bundles(&scene);
        fs::create_dir_all(scene.folder.path().join("certs")).unwrap();
        if flat {
            lay_flat(&donor, &scene);
        }
        let _own = Own::plant(&scene);
        let kept: BTreeSet<_> = keys(&scene).collect();
        let traced = Traced::start(scene.command(&["run"]));
        // The gateway is started when the material is there.
        let children = format!("/proc/{0}/task/{0}/children", traced.id());
        let over = || fs::read_to_string(&children).is_ok_and(|list| !list.is_empty());
        let mut states = States::default();
        let end = traced.look_before_each(over, |change| states.take(&scene, &change.to_string()));
        assert!(matches!(end, End::Passed(_)), "{end:?}");
        let what = if flat { "a start on files laid there by hand" } else { "a start on an empty volume" };
        states.check(&Starts::of(&scene), &kept, what);
        scene.wait_for_the_port();
    }
}
