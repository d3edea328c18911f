//! Publication: killed anywhere, raced by many, on full and read-only disks.

mod material_scene;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration as StdDuration, Instant},
};

use material_scene::{NAMES, NOW, Scene, child, child_folder, config, marks_through_data, set};
use temporal_warden::{
    rotation::{Request, apply, inspect},
    store::{Error, Generations, Step},
};

fn publish_until(folder: &Generations, mark: &str, stop_at: usize) -> (Option<Step>, usize) {
    let (mut seen, mut last) = (0, None);
    let result = folder.publish_observed(&set(mark), NOW, &|_| Ok(()), &mut |step| {
        last = Some(step);
        seen += 1;
        seen <= stop_at
    });
    match result {
        Ok(_) => (None, seen),
        Err(Error::Stopped(_)) => (last, seen),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_crash_before_any_step_leaves_old_or_new_and_the_next_publication_succeeds() {
    for first in [true, false] {
        let mut stops = 0;
        for stop_at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let generations = Generations::open(folder.path()).unwrap();
            if !first {
                generations.publish(&set("old"), NOW, &|_| Ok(())).unwrap();
            }
            let (stopped, _) = publish_until(&generations, "new", stop_at);
            let marks = marks_through_data(folder.path());
            assert!(marks.len() <= 1, "{stopped:?}: mixed {marks:?}");
            assert!(first || marks.len() == 1, "{stopped:?}: the old set is gone");
            let Some(step) = stopped else { break };
            let committed = marks.contains("new");
            assert_eq!(committed, matches!(step, Step::Link | Step::Prune), "{step:?}");
            generations.publish(&set("next"), NOW, &|_| Ok(())).unwrap();
            assert_eq!(marks_through_data(folder.path()), BTreeSet::from(["next".to_owned()]), "{step:?}");
            for name in NAMES {
                assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), "next", "{step:?} {name}");
            }
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(!left.iter().any(|n| n.to_string_lossy().contains(".new")), "{step:?}: {left:?}");
            stops += 1;
        }
        assert!(stops >= 11, "every step was a place to stop: {stops}");
    }
}

#[test]
fn a_staged_set_that_does_not_pass_is_not_published_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let generations = Generations::open(folder.path()).unwrap();
    generations.publish(&set("old"), NOW, &|_| Ok(())).unwrap();
    let error = generations.publish(&set("new"), NOW, &|staged| {
        assert_eq!(&**staged["folder/c"].bytes, b"new");
        Err("no good".to_owned())
    });
    assert!(error.unwrap_err().to_string().ends_with("so it was not published: no good"));
    assert_eq!(marks_through_data(folder.path()), BTreeSet::from(["old".to_owned()]));
    assert!(!folder.path().join("..g1").exists());
}

#[test]
fn a_reader_that_resolves_data_once_never_sees_a_mix() {
    let folder = tempfile::tempdir().unwrap();
    let generations = Generations::open(folder.path()).unwrap();
    generations.publish(&set("0"), NOW, &|_| Ok(())).unwrap();
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Swept between the two looks of `canonicalize` when this thread sleeps for three publications.
                let Ok(generation) = fs::canonicalize(folder.path().join("..data")) else { continue };
                let marks: BTreeSet<_> =
                    NAMES.iter().filter_map(|n| fs::read_to_string(generation.join(n)).ok()).collect();
                assert!(marks.len() <= 1, "{marks:?}");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut published = 0;
        while published < 300 || reads.load(Ordering::Relaxed) < 300 {
            published += 1;
            assert!(!reader.is_finished(), "the reader saw a mix");
            generations.publish(&set(&published.to_string()), NOW, &|_| Ok(())).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
#[ignore = "the child of other tests"]
fn child_starts_once() {
    let folder = child_folder();
    apply(&config(&folder), NOW, Request::MakeMissing, &mut |_| {}).unwrap();
}

#[test]
#[ignore = "the child of other tests"]
fn child_rotates_for_ever() {
    let folder = child_folder();
    loop {
        apply(&config(&folder), NOW, Request::Certificates { keep_keys: false }, &mut |_| {}).unwrap();
    }
}

#[test]
fn ten_processes_on_one_empty_volume_end_with_one_ca() {
    let scene = Scene::new();
    let children: Vec<_> = (0..10).map(|_| child("child_starts_once", scene.folder.path(), &[])).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs::read_link(scene.path("..data")).unwrap().to_str(), Some("..g0"), "one published, nine found it");
    assert!(inspect(&scene.config, NOW).unwrap().is_good());
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_set_that_verifies() {
    let scene = Scene::new();
    scene.start();
    let ca = scene.read("ca.crt");
    for round in 0..25 {
        let before = fs::read_link(scene.path("..data")).unwrap();
        let mut writer = child("child_rotates_for_ever", scene.folder.path(), &[]);
        // However slow the machine, the kill falls somewhere into the publications after the writer's first.
        while fs::read_link(scene.path("..data")).unwrap() == before {
            assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::sleep(StdDuration::from_millis(1));
        }
        std::thread::sleep(StdDuration::from_millis(3 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let report = inspect(&scene.config, NOW).unwrap();
        assert!(report.is_good(), "round {round}: {report:#?}");
        let (live, _) = scene.start();
        assert_eq!(live.trust_pem, ca);
    }
}

#[test]
fn a_report_taken_while_another_process_rotates_is_whole() {
    let scene = Scene::new();
    scene.start();
    let mut writer = child("child_rotates_for_ever", scene.folder.path(), &[]);
    let (mut generations, mut reports) = (BTreeSet::new(), 0);
    // However slow the disk, the reports fall into many publications.
    while reports < 300 || generations.len() < 10 {
        assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
        let report = inspect(&scene.config, NOW).unwrap();
        assert!(report.is_good(), "{report:#?}");
        generations.insert(report.generation);
        reports += 1;
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_then_named() {
    let mut scene = Scene::new();
    scene.start();
    scene.config.certs.lock_timeout = StdDuration::from_millis(150);
    let held = Generations::open(scene.dir()).unwrap().lock(StdDuration::ZERO).unwrap();
    let start = Instant::now();
    let error = scene.apply(Request::MakeMissing).unwrap_err().to_string();
    assert!(error.contains("/.lock for 150ms") && error.contains("WARDEN_LOCK_TIMEOUT"), "{error}");
    assert!(start.elapsed() >= StdDuration::from_millis(150));
    drop(held);
    scene.start();
}

#[test]
#[ignore = "the child of other tests"]
fn child_meets_full_and_read_only_disks_and_real_mounts() {
    use nix::mount::{MsFlags, mount};
    let folder = child_folder();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let none = MsFlags::empty();
    let tmpfs =
        |path: &Path, options: &str, flags| mount(Some("none"), path, Some("tmpfs"), flags, Some(options)).unwrap();
    let config = config(&folder);
    let start = || apply(&config, NOW, Request::MakeMissing, &mut |_| {});

    fs::create_dir_all(&config.certs.dir).unwrap();
    tmpfs(&config.certs.dir, "size=48k", none);
    let error = start().unwrap_err().to_string();
    assert!(error.contains("..g0/") && error.contains("free space on the volume"), "{error}");
    assert!(!config.certs.dir.join("..g0").exists(), "nothing is left behind");

    tmpfs(&config.certs.dir, "size=1m", none);
    tmpfs(&config.certs.dir, "size=1m", MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let error = start().unwrap_err().to_string();
    assert!(error.contains(".lock") && error.contains("mounted read-only"), "{error}");
    tmpfs(&config.certs.dir, "size=1m", MsFlags::MS_REMOUNT);
    start().unwrap();
    tmpfs(&config.certs.dir, "size=1m", MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let mut warnings = Vec::new();
    apply(&config, NOW, Request::MakeMissing, &mut |event| warnings.push(event.to_string())).unwrap();
    assert!(
        matches!(&warnings[..], [one] if one.contains("is mounted read-only: what is there is served")),
        "{warnings:?}"
    );
    let request = Request::Certificates { keep_keys: false };
    let mut said = Vec::new();
    let error = apply(&config, NOW, request, &mut |event| said.push(event.to_string())).unwrap_err().to_string();
    assert!(error.contains("failed to change the folder") && error.contains("mounted read-only"), "{error}");
    assert!(said.is_empty(), "nothing is said to be made that was not: {said:?}");
    tmpfs(&config.certs.dir, "size=1m", MsFlags::MS_REMOUNT);

    let bundle = |name: &str| config.certs.publish_dir.join(name);
    for name in ["client", "worker", "ui"] {
        fs::create_dir_all(bundle(name)).unwrap();
    }
    tmpfs(&bundle("client"), "size=1m", none);
    tmpfs(&bundle("worker"), "size=1m", MsFlags::MS_RDONLY);
    let live = start().unwrap();
    let state = |name: &str| live.bundles.iter().find(|b| b.name == name).unwrap().to_string();
    assert!(state("client").contains("published bundle client as generation 0"), "{}", state("client"));
    assert!(state("worker").contains("mounted read-only"), "{}", state("worker"));
    assert!(state("ui").contains("not a mount"), "{}", state("ui"));
    fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn full_and_read_only_disks_are_named_and_only_mounts_get_bundles() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "child_meets_full_and_read_only_disks_and_real_mounts";
    assert!(child(name, folder.path(), &["unshare", "--mount"]).wait().unwrap().success());
    assert!(folder.path().join("done").exists());
}
