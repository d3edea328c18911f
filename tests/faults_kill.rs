//! PID 1 is killed: before every single change a rotation makes to the files, and at random instants.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    thread,
    time::{Duration, Instant},
};

use faults_support::{
    Own, assert_secret, assert_serves, assert_whole, backend, folders, in_own_mounts, mount_bundles,
    scene_with_bundles,
    trace::{End, Traced},
    witness::{Witness, look, look_flat, names},
};
use warden_scene::Scene;

/// A number from the environment, for the long variants of scripts/bench/faults.sh.
fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// What is asked for, and what must be done before it can be asked for again.
type Rotation = (&'static [&'static str], &'static [&'static str]);

const ROTATIONS: [Rotation; 6] = [
    (&["cert", "generate"], &[]),
    (&["cert", "generate", "--rotate-ca"], &["cert", "retire"]),
    (&["cert", "retire"], &["cert", "generate", "--rotate-ca"]),
    (&["token", "generate"], &[]),
    (&["token", "generate", "--rotate-key"], &["token", "retire"]),
    (&["token", "retire"], &["token", "generate", "--rotate-key"]),
];

fn prepare(scene: &Scene, (_, before): Rotation) {
    // Refused where there is nothing to retire, or a new CA already: then that is prepared.
    if !before.is_empty() {
        scene.run(before);
    }
}

/// What must hold at any moment, after any kill.
fn assert_sound(scene: &Scene, own: &Own, after: &str) {
    assert_whole(scene, after);
    assert_secret(scene, after);
    own.assert_untouched(after);
    let verify = scene.run(&["cert", "verify"]);
    assert!(verify.status.success(), "after {after}: {}", String::from_utf8_lossy(&verify.stdout));
}

/// Starts the warden, asks it for a rotation, and does with it `what` until that is answered.
async fn trace(scene: &Scene, (args, _): Rotation, what: impl FnOnce(Traced, &mut dyn FnMut() -> bool) -> End) -> End {
    let warden = scene.warden();
    assert_serves(scene, "the start").await;
    let traced = Traced::seize(warden.pid());
    let mut command = scene.command(args);
    let asking = thread::spawn(move || command.output().unwrap());
    let end = what(traced, &mut || asking.is_finished());
    let output = asking.join().unwrap();
    if let End::Passed(_) = end {
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    end
}

async fn kill_before(scene: &Scene, rotation: Rotation, nth: usize) -> End {
    trace(scene, rotation, |traced, over| traced.kill_before(nth, over)).await
}

/// Before which changes to kill, by the environment: every `FAULTS_STRIDE`-th from `first`; or, with `FAULTS_STEPS`, the
/// first and the last of each kind of step, as a run that is left alone shows them.
async fn kills(scene: &Scene, rotation: Rotation, first: usize) -> Box<dyn Iterator<Item = usize>> {
    if std::env::var_os("FAULTS_STEPS").is_none() {
        return Box::new((first..).step_by(number("FAULTS_STRIDE", 80)));
    }
    prepare(scene, rotation);
    let mut steps = Vec::new();
    let end = trace(scene, rotation, |traced, over| {
        traced.look_before_each(over, |change| steps.push(change.step(scene.folder.path())))
    })
    .await;
    assert!(matches!(end, End::Passed(_)), "{end:?}");
    // Beyond the last: how it ends when it is left alone.
    Box::new(first_and_last(&steps).into_iter().chain([usize::MAX]))
}

/// Positions of the first and the last of each kind.
fn first_and_last(steps: &[String]) -> BTreeSet<usize> {
    let is_edge = |at: &usize| !steps[..*at].contains(&steps[*at]) || !steps[at + 1..].contains(&steps[*at]);
    (0..steps.len()).filter(is_edge).collect()
}

/// Kills before those changes of a rotation, and looks at what is left.
async fn sweep(scene: &Scene, rotation: Rotation, first: usize, own: &Own) {
    let began = Instant::now();
    let (mut killed, mut most) = (Vec::new(), 0);
    for nth in kills(scene, rotation, first).await {
        prepare(scene, rotation);
        let end = kill_before(scene, rotation, nth).await;
        let after = format!("{:?} and a kill before change {nth}: {end:?}", rotation.0);
        assert_sound(scene, own, &after);
        match end {
            End::Killed(change) => killed.push(change.step(scene.folder.path())),
            End::Passed(changes) => {
                most = changes;
                if nth >= changes {
                    break;
                }
            }
            End::Ended(_) => panic!("the warden ended by itself: {after}"),
        }
    }
    let (kills, took) = (killed.len(), began.elapsed());
    killed.sort_unstable();
    killed.dedup();
    println!("{:?}: {most} changes, {kills} kills before {} kinds of step, {took:.0?}", rotation.0, killed.len());
}

/// `FAULTS_STRIDE=1` kills before every change of every rotation, `FAULTS_STEPS=1` at each kind of step.
#[tokio::test]
async fn killed_before_any_change_of_a_rotation_the_next_start_serves_a_whole_set() {
    if !in_own_mounts("killed_before_any_change_of_a_rotation_the_next_start_serves_a_whole_set") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let own = Own::plant(&scene);
    let witness = Witness::of(folders(&scene), look);
    let stride = number("FAULTS_STRIDE", 80);
    // To go on with one that broke off, `FAULTS_FROM`: the rotation to begin with.
    for (at, rotation) in ROTATIONS.into_iter().enumerate().skip(number("FAULTS_FROM", 0)) {
        sweep(&scene, rotation, at * stride / ROTATIONS.len(), &own).await;
        witness.check();
    }
    let _last = scene.warden();
    assert_serves(&scene, "all of it").await;
    println!("a reader saw {} different sets, none mixed", witness.end());
}

/// A start, with which `what` is done until the gateway is started. What it finds is laid out by `prepare`.
async fn trace_start(
    upstream: &str,
    prepare: impl Fn(&Scene),
    what: impl FnOnce(Traced, &mut dyn FnMut() -> bool, &Scene) -> End,
) -> End {
    let mut scene = Scene::empty(upstream);
    // Due from the beginning: a start that finds certificates renews them.
    scene.set("WARDEN_CERT_TTL", "2m");
    scene.set("WARDEN_POSTGRES_SANS", "postgres");
    prepare(&scene);
    let _mounts = mount_bundles(&scene);
    std::fs::create_dir_all(scene.folder.path().join("certs")).unwrap();
    let own = Own::plant(&scene);
    let keys = || ["ca.crt", "ca.key", "temporal-jwt-private.key"].map(|name| std::fs::read(scene.path(name)).ok());
    let before = keys();
    let witness = Witness::of(folders(&scene), look);
    let traced = Traced::start(scene.command(&["run"]));
    // The gateway is started when the material is there.
    let children = format!("/proc/{0}/task/{0}/children", traced.id());
    let mut over = || std::fs::read_to_string(&children).is_ok_and(|list| !list.is_empty());
    let end = what(traced, &mut over, &scene);
    let after = format!("a kill of a start: {end:?}");
    assert_whole(&scene, &after);
    assert_secret(&scene, &after);
    assert!(before[0].is_none() || keys() == before, "after {after}: another CA or signing key");
    let mut next = scene.warden();
    assert_serves(&scene, &after).await;
    assert_sound(&scene, &own, &after);
    assert!(before[0].is_none() || keys() == before, "after {after}: another CA or signing key");
    witness.end();
    // A stop would wait for the gateway to drain.
    next.kill();
    end
}

/// Files as a user restores them from a backup: no links, no generation, and open to everybody.
fn lay_flat(donor: &Scene, scene: &Scene) {
    let folder = scene.folder.path().join("certs");
    std::fs::create_dir_all(&folder).unwrap();
    for name in names(&folder) {
        std::fs::copy(donor.path(name), folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn killed_before_any_change_of_a_start_the_next_start_serves_and_no_key_is_lost() {
    if !in_own_mounts("killed_before_any_change_of_a_start_the_next_start_serves_and_no_key_is_lost") {
        return;
    }
    let upstream = backend();
    let stride = number("FAULTS_STRIDE", 80);
    let mut donor = Scene::empty(&upstream);
    donor.set("WARDEN_CERT_TTL", "2m");
    donor.done(&["init"]);
    let empty: &dyn Fn(&Scene) = &|_| {};
    // What is due has not expired yet, however long all this takes.
    let flat: &dyn Fn(&Scene) = &|scene| {
        donor.done(&["cert", "generate", "--keep-keys"]);
        lay_flat(&donor, scene);
    };
    for (what, prepare) in [("an empty volume", empty), ("files laid there by hand", flat)] {
        let mut steps = Vec::new();
        let note = |traced: Traced, over: &mut dyn FnMut() -> bool, scene: &Scene| {
            traced.look_before_each(over, |change| steps.push(change.step(scene.folder.path())))
        };
        trace_start(&upstream, prepare, note).await;
        let chosen: Vec<_> = match std::env::var_os("FAULTS_STEPS") {
            Some(_) => first_and_last(&steps).into_iter().collect(),
            None => (stride / 2..steps.len()).step_by(stride).collect(),
        };
        let mut kills = 0;
        for nth in chosen {
            match trace_start(&upstream, prepare, |traced, over, _| traced.kill_before(nth, over)).await {
                End::Killed(_) => kills += 1,
                // A change fewer than the first time.
                End::Passed(_) => {}
                End::Ended(_) => panic!("the warden ended by itself"),
            }
        }
        println!("a start on {what}: {} changes, {kills} kills", steps.len());
    }
}

/// `FAULTS_KILLS=500` in scripts/bench/faults.sh.
#[tokio::test]
async fn killed_at_random_instants_the_next_start_serves_a_whole_set() {
    if !in_own_mounts("killed_at_random_instants_the_next_start_serves_a_whole_set") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let own = Own::plant(&scene);
    let witness = Witness::of(folders(&scene), look);
    let (kills, mut during) = (number("FAULTS_KILLS", 10), 0);
    // How long each takes when it is left alone, by the last time it was.
    let mut usual = [Duration::from_millis(150); ROTATIONS.len()];
    for round in 0..kills {
        let which = round % ROTATIONS.len();
        let rotation = ROTATIONS[which];
        prepare(&scene, rotation);
        let mut warden = scene.warden();
        assert_serves(&scene, "a kill at random").await;
        let mut command = scene.command(rotation.0);
        let began = Instant::now();
        let asking = thread::spawn(move || (command.output().unwrap(), began.elapsed()));
        thread::sleep(usual[which].mul_f64(random()));
        warden.kill();
        let (output, took) = asking.join().unwrap();
        if output.status.success() {
            usual[which] = took;
        } else {
            during += 1;
        }
        assert_sound(&scene, &own, &format!("kill {round}, in {:?} after {:?}", rotation.0, began.elapsed()));
        witness.check();
    }
    let _last = scene.warden();
    assert_serves(&scene, "all of it").await;
    println!("{kills} kills, {during} before the rotation was done; {} sets seen, none mixed", witness.end());
}

/// At a start it is the automatic renewal that is killed: it keeps keys, so readers of the flat names see pairs too.
#[tokio::test]
async fn automatic_renewals_killed_at_random_instants_show_no_mixed_set_by_flat_names_either() {
    if !in_own_mounts("automatic_renewals_killed_at_random_instants_show_no_mixed_set_by_flat_names_either") {
        return;
    }
    let upstream = backend();
    let mut scene = Scene::empty(&upstream);
    // Due from the beginning: each start renews.
    scene.set("WARDEN_CERT_TTL", "2m");
    scene.set("WARDEN_TOKEN_TTL", "2m");
    let _mounts = mount_bundles(&scene);
    scene.done(&["init"]);
    let own = Own::plant(&scene);
    let (once, flat) = (Witness::of(folders(&scene), look), Witness::of(folders(&scene), look_flat));
    let (kills, generation) = (number("FAULTS_KILLS", 10), || std::fs::read_link(scene.path("..data")).unwrap());
    let first = generation();
    let mut usual = Duration::from_millis(400);
    for round in 0..kills {
        let (mut warden, began) = (scene.warden(), Instant::now());
        if round % 4 == 0 {
            assert_serves(&scene, "a kill at random").await;
            usual = began.elapsed();
        } else {
            thread::sleep(usual.mul_f64(random()));
        }
        warden.kill();
        assert_sound(&scene, &own, &format!("kill {round}, {:?} after a start", began.elapsed()));
        once.check();
        flat.check();
    }
    assert_ne!(generation(), first, "renewals came through");
    println!("{kills} kills; {} sets seen by flat names, {} resolved once, none mixed", flat.end(), once.end());
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}
