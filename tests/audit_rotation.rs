//! Rotation loses no record: by size, by somebody else's rename, and when everything is killed in the middle of it.

mod audit_scene;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, Instant},
};

use audit_scene::{
    LIMIT, Warden,
    gateway::{LIST, client},
    load::{Load, Manner},
};
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

const SMALL: &[(&str, &str)] = &[("WARDEN_AUDIT_MAX_SIZE", "64KiB"), ("WARDEN_AUDIT_KEEP", "400")];

fn files(warden: &Warden) -> usize {
    warden.series().oldest_first().unwrap().len()
}

/// Every answered call is on record once; no call is on record twice.
fn all_on_record(warden: &Warden, load: &Load) {
    let tally = warden.tally();
    let twice: Vec<_> = tally.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "on record more than once: {twice:?}");
    let answered = load.seen.answered.lock().unwrap();
    let missing: Vec<_> = answered.iter().filter(|tag| !tally.contains_key(*tag)).collect();
    assert!(missing.is_empty(), "answered and not on record: {missing:?}");
}

async fn rotated(warden: &Warden, load: &Load, times: usize) {
    let before = files(warden);
    timeout(LIMIT, async {
        while files(warden) < before + times {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no rotation: {} files, {} answered", files(warden), load.answered()));
}

#[tokio::test]
async fn by_size_under_load_no_record_is_lost_and_the_chains_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), SMALL).await;
    let mut load = Load::start(&warden, &[Manner::Honest; 4]);
    let before = files(&warden);
    // The log is whole at any moment, also while it is written and rotated.
    let start = Instant::now();
    while files(&warden) < before + 4 {
        assert!(start.elapsed() < LIMIT, "no rotation: {} answered", load.answered());
        let mut verify = warden.command(&["audit", "verify"]);
        let out = tokio::task::spawn_blocking(move || verify.output().unwrap()).await.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
    load.stop().await;
    assert_eq!(warden.stop().await, Some(0));
    all_on_record(&warden, &load);
    let (good, said) = warden.verified();
    assert!(good && said.contains("gateway: seq 1 to") && said.contains("warden: seq 1 to"), "{said}");
    assert!(warden.acts().iter().filter(|[method, ..]| method == "RotateAudit").count() >= 4);
    for path in warden.series().oldest_first().unwrap() {
        let found = fs::metadata(path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o640);
        assert_eq!(
            (found.uid(), found.gid()),
            if nix::unistd::geteuid().is_root() { (0, 7233) } else { (found.uid(), found.gid()) }
        );
    }
}

#[tokio::test]
async fn the_newest_files_are_kept_and_older_ones_removed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("WARDEN_AUDIT_MAX_SIZE", "64KiB"), ("WARDEN_AUDIT_KEEP", "2")];
    let mut warden = Warden::start(folder.path(), &settings).await;
    let mut load = Load::start(&warden, &[Manner::Honest; 4]);
    let rotations = || warden.acts().iter().filter(|[method, ..]| method == "RotateAudit").count();
    let first = || warden.records()[0]["seq"].as_u64().unwrap();
    timeout(LIMIT, async {
        while files(&warden) < 3 || rotations() < 2 || first() == 1 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("files are removed in time");
    load.stop().await;
    warden.stop().await;
    assert_eq!(files(&warden), 3);
    let (good, said) = warden.verified();
    assert!(good && said.contains("what came before is not in these files"), "{said}");
}

#[tokio::test]
async fn a_file_renamed_by_somebody_else_is_followed_by_a_new_one_at_sighup_and_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[("WARDEN_AUDIT_MAX_SIZE", "0")]).await;
    let mut load = Load::start(&warden, &[Manner::Honest; 2]);
    let current = warden.series().current().to_owned();
    for (name, hangup) in [("audit.jsonl-20261124", true), ("audit.jsonl-20261125", false)] {
        let before = load.answered();
        warden.until("calls", || load.answered() > before + 20).await;
        fs::rename(&current, current.with_file_name(name)).unwrap();
        if hangup {
            warden.signal(Signal::SIGHUP);
        }
        let reopened = || warden.acts().iter().filter(|[method, ..]| method == "ReopenAudit").count();
        let expected = if hangup { 1 } else { 2 };
        warden.until("a new file", || current.exists() && reopened() == expected).await;
        let length = || fs::metadata(&current).unwrap().len();
        let then = length();
        warden.until("the gateway writes there", || length() > then).await;
    }
    load.stop().await;
    warden.stop().await;
    all_on_record(&warden, &load);
    assert!(warden.verified().0, "{}", warden.verified().1);
}

#[tokio::test]
async fn everything_killed_at_any_moment_of_many_rotations_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), SMALL).await;
    let mut load = Load::start(&warden, &[Manner::Honest; 4]);
    for round in 0..5 {
        rotated(&warden, &load, 1).await;
        // The file is full a second later at most: the kills fall before, into and after a rotation.
        sleep(Duration::from_millis(180 * round)).await;
        warden.kill().await;
        warden.run().await;
    }
    load.stop().await;
    warden.stop().await;
    all_on_record(&warden, &load);
    assert!(warden.verified().0, "{}", warden.verified().1);
}

#[tokio::test]
async fn killed_between_the_rename_and_the_first_new_record_both_chains_go_on_in_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut warden = Warden::start(folder.path(), &[]).await;
    for _ in 0..2 {
        let (send, token) = warden.connect().await;
        for _ in 0..3 {
            assert_eq!(client::call(&send, LIST, &[("authorization", &token)]).await.unwrap().status(), 0);
        }
        warden.kill().await;
        warden.series().rotate(10).unwrap();
        warden.run().await;
    }
    warden.stop().await;
    assert_eq!(files(&warden), 3);
    let (good, said) = warden.verified();
    assert!(good && said.contains("gateway: seq 1 to") && said.contains("warden: seq 1 to"), "{said}");
}
