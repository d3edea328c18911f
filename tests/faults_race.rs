//! Many at once, a rotation while the warden starts or stops, and sets made by a clock that was wrong.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    fs,
    process::Output,
    thread,
    time::{Duration, Instant},
};

use faults_support::{
    Own, assert_secret, assert_serves, assert_whole, backend, folders, in_own_mounts, scene_with_bundles,
    witness::{Witness, look},
};
use nix::sys::signal::Signal;
use temporal_warden::{
    config::{Config, load},
    pki::Certificate,
    rotation::{Request, apply},
};
use time::OffsetDateTime;
use warden_scene::Scene;

const LIMIT: Duration = Duration::from_secs(60);

/// Ten wardens with sockets of their own on one volume. One makes the set, nine find it.
#[tokio::test]
async fn ten_wardens_that_start_on_one_empty_volume_serve_with_one_ca() {
    let upstream = backend();
    let first = Scene::empty(&upstream);
    let certs = first.folder.path().join("certs");
    let mut scenes: Vec<_> = (0..9).map(|_| Scene::empty(&upstream)).collect();
    scenes.iter_mut().for_each(|scene| scene.set("WARDEN_CERTS_DIR", certs.to_str().unwrap()));
    let witness = Witness::of(vec![certs.clone()], look);
    let wardens: Vec<_> = [&first].into_iter().chain(&scenes).map(Scene::warden).collect();
    for scene in &scenes {
        // Each reads its files by its own folder.
        let link = scene.folder.path().join("certs");
        std::os::unix::fs::symlink(&certs, link).unwrap();
    }
    for scene in [&first].into_iter().chain(&scenes) {
        assert_serves(scene, "ten starts").await;
    }
    assert_eq!(fs::read_link(certs.join("..data")).unwrap().to_str(), Some("..g0"), "one made it, nine found it");
    assert_eq!(witness.end(), 1, "nobody saw another set");
    for mut warden in wardens {
        warden.kill();
    }
}

/// Runs commands at the same time.
fn at_once(scene: &Scene, all: &[&[&str]]) -> Vec<Output> {
    let start = |args: &&[&str]| {
        let mut command = scene.command(args);
        thread::spawn(move || command.output().unwrap())
    };
    let running: Vec<_> = all.iter().map(start).collect();
    running.into_iter().map(|one| one.join().unwrap()).collect()
}

#[tokio::test]
async fn generations_asked_for_at_once_come_one_after_the_other_with_and_without_a_running_warden() {
    if !in_own_mounts("generations_asked_for_at_once_come_one_after_the_other_with_and_without_a_running_warden") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let own = Own::plant(&scene);
    let witness = Witness::of(folders(&scene), look);
    let generation = || fs::read_link(scene.path("..data")).unwrap().to_str().unwrap()[3..].parse::<u64>().unwrap();
    let generate: &[&str] = &["cert", "generate"];
    let tokens: &[&str] = &["token", "generate"];
    for running in [false, true] {
        let warden = running.then(|| scene.warden());
        if running {
            assert_serves(&scene, "the start").await;
        }
        let before = generation();
        for output in at_once(&scene, &[generate, generate, generate, tokens, tokens]) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(generation(), before + 5, "with a warden: {running}");
        assert_whole(&scene, "five at once");
        assert_secret(&scene, "five at once");
        scene.done(&["cert", "verify"]);
        if running {
            assert_serves(&scene, "five at once").await;
        }
        drop(warden);
    }
    own.assert_untouched("all of it");
    witness.end();
}

#[tokio::test]
async fn a_rotation_asked_for_while_the_warden_starts_or_stops_is_done_or_refused_and_never_half() {
    if !in_own_mounts("a_rotation_asked_for_while_the_warden_starts_or_stops_is_done_or_refused_and_never_half") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let witness = Witness::of(folders(&scene), look);
    let (mut done, mut refused) = (0, 0);
    // Three during the start, then three and more ever longer before the stop, until one was done by then.
    for step in 0..14 {
        if step >= 6 && done > 0 {
            break;
        }
        let certificate = scene.read("temporal-client.crt");
        let mut warden = scene.warden();
        let mut command = scene.command(&["cert", "generate"]);
        let asking = if step < 3 {
            thread::sleep(Duration::from_millis(70 * step));
            let asking = thread::spawn(move || command.output().unwrap());
            assert_serves(&scene, "a rotation during the start").await;
            asking
        } else {
            assert_serves(&scene, "the start").await;
            let asking = thread::spawn(move || command.output().unwrap());
            thread::sleep(Duration::from_millis(12 * ((1 << (step - 3)) - 1)));
            asking
        };
        warden.signal(Signal::SIGTERM);
        let began = Instant::now();
        let code = warden.code();
        assert_eq!(code, Some(0), "a clean stop");
        assert!(began.elapsed() < LIMIT);
        let output = asking.join().unwrap();
        let made_anew = scene.read("temporal-client.crt") != certificate;
        match output.status.code() {
            Some(0) => {
                assert!(made_anew, "said to be done: {}", String::from_utf8_lossy(&output.stdout));
                done += 1;
            }
            Some(1) => refused += 1,
            other => panic!("{other:?}"),
        }
        assert_whole(&scene, "a stop");
        assert_secret(&scene, "a stop");
        scene.done(&["cert", "verify"]);
    }
    let _last = scene.warden();
    assert_serves(&scene, "all of it").await;
    witness.end();
    println!("{done} done, {refused} refused");
    assert!(done > 0, "{refused} refused");
}

/// The configuration the program has in this scene.
fn config(scene: &Scene) -> Config {
    let command = scene.command(&[]);
    let environment = command
        .get_envs()
        .filter(|(name, _)| *name != "PATH")
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
    load::from(environment, |path| fs::read_to_string(path)).unwrap().0
}

/// The set of a scene is made `days` from now, with a CA and a signing key before the current ones. For the warden that
/// starts then, the clock is off by as much the other way.
fn made(days: i64) -> Scene {
    let scene = Scene::empty(&backend());
    let (config, at) = (config(&scene), OffsetDateTime::now_utc() + time::Duration::days(days));
    for request in
        [Request::MakeMissing, Request::RotateCa { keep_keys: false }, Request::RotateKey, Request::FinishKey]
    {
        apply(&config, at, request, &mut |_| {}).unwrap();
    }
    scene
}

#[tokio::test]
async fn a_clock_that_is_400_days_off_renews_and_retires_nothing_by_itself() {
    for (days, word) in [(-400, "was it set, or was this off for so long?"), (400, "was the clock set back?")] {
        let scene = made(days);
        let before = (scene.read("ca.crt"), scene.read("temporal-jwks.json"), scene.read("temporal-server.crt"));
        assert_eq!(Certificate::all_from_pem(&before.0).unwrap().len(), 2);
        let mut warden = scene.warden();
        let said = || fs::read_to_string(scene.log()).unwrap();
        let began = Instant::now();
        while !said().contains("started child=gateway") {
            assert!(began.elapsed() < LIMIT, "{days}: {}", said());
            thread::sleep(Duration::from_millis(20));
        }
        assert!(said().contains(word), "{days}: {}", said());
        // One look of the renewal, which comes every five seconds.
        thread::sleep(Duration::from_secs(7));
        let after = (scene.read("ca.crt"), scene.read("temporal-jwks.json"), scene.read("temporal-server.crt"));
        assert!(after == before, "{days}: {}", said());
        assert_whole(&scene, word);
        warden.kill();
        if days < 0 {
            // The way out for whoever knows that the clock is right: everything by hand, under the CA that is valid.
            scene.done(&["cert", "generate"]);
            scene.done(&["token", "generate"]);
            let _warden = scene.warden();
            assert_serves(&scene, "new certificates by hand").await;
        }
    }
}
