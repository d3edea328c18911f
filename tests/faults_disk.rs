//! Full and read-only volumes: what is there is served, what is wrong is said, and nothing half-made is left.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use faults_support::{
    assert_secret, assert_serves, assert_whole, backend, folders, in_own_mounts, mount_small, published, remount,
    scene_with_bundles,
    witness::{Witness, look},
};
use nix::mount::MsFlags;
use warden_scene::Scene;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fills a volume to the last byte.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("ballast")).unwrap();
    let full = |block: &[u8]| while std::io::Write::write_all(&mut file, block).is_ok() {};
    [&[0; 1 << 16][..], &[0; 1 << 12], &[0]].into_iter().for_each(full);
}

fn relieve(folder: &Path) {
    fs::remove_file(folder.join("ballast")).unwrap();
}

/// The file whose write failed: a message names it.
fn named(message: &str) -> Option<String> {
    let at = message.split_whitespace().find(|word| word.contains("/certs/") || word.contains("/published/"))?;
    let path = at.trim_end_matches(':');
    Some(path.rsplit_once("/..g").map_or(path, |(_, below)| below).to_owned())
}

#[tokio::test]
async fn full_at_any_write_of_a_first_start_it_is_said_and_with_room_the_next_one_serves() {
    if !in_own_mounts("full_at_any_write_of_a_first_start_it_is_said_and_with_room_the_next_one_serves") {
        return;
    }
    let scene = Scene::empty(&backend());
    let certs = scene.folder.path().join("certs");
    let mut refused = BTreeSet::new();
    // A page, or an inode, more at a time: each write is the one that fails once.
    for what in ["size=4k", "nr_inodes=1"] {
        for room in 1.. {
            let options = what.replace("=4k", &format!("={}k", 4 * room)).replace("=1", &format!("={room}"));
            let _volume = mount_small(&certs, &options);
            let output = scene.run(&["init"]);
            assert_whole(&scene, &options);
            assert_secret(&scene, &options);
            if output.status.success() {
                break;
            }
            let message = said(&output);
            assert!(message.contains("free space on the volume"), "{options}: {message}");
            refused.extend(named(&message));
            let left: Vec<_> = fs::read_dir(&certs).unwrap().map(|e| e.unwrap().file_name()).collect();
            let committed = certs.join("..data").exists();
            assert!(committed || left.iter().all(|name| name == ".lock"), "{options}: left behind {left:?}");
            remount(&certs, MsFlags::empty(), "size=4m,nr_inodes=1000");
            scene.done(&["init"]);
            scene.done(&["cert", "verify"]);
        }
    }
    println!("{} places where it failed: {refused:?}", refused.len());
    assert!(refused.len() >= 25, "{refused:?}");
}

#[tokio::test]
async fn full_at_any_write_of_a_rotation_the_old_set_goes_on_and_with_room_it_succeeds() {
    if !in_own_mounts("full_at_any_write_of_a_rotation_the_old_set_goes_on_and_with_room_it_succeeds") {
        return;
    }
    let scene = Scene::empty(&backend());
    let certs = scene.folder.path().join("certs");
    let _volume = mount_small(&certs, "size=4m,nr_inodes=1000");
    scene.done(&["init"]);
    let _warden = scene.warden();
    assert_serves(&scene, "the start").await;
    let witness = Witness::of(folders(&scene), look);
    let used = || fs::read_dir(certs.join("..data/")).unwrap().count();
    let files = used() + 8;
    let mut refused = BTreeSet::new();
    for room in 0..files {
        let before = fs::read_link(certs.join("..data")).unwrap();
        // Three generations lie there by then: only the room beyond them counts.
        let blocks = nix::sys::statvfs::statvfs(&certs).unwrap();
        let taken = blocks.blocks() - blocks.blocks_free();
        remount(&certs, MsFlags::empty(), &format!("size={}k,nr_inodes=1000", 4 * (taken + room as u64)));
        let output = scene.run(&["cert", "generate"]);
        assert_whole(&scene, &format!("{room} pages"));
        assert_secret(&scene, &format!("{room} pages"));
        if !output.status.success() {
            let message = said(&output);
            assert!(message.contains("free space on the volume"), "{message}");
            refused.extend(named(&message));
            assert_eq!(fs::read_link(certs.join("..data")).unwrap(), before, "{message}");
            assert_serves(&scene, &message).await;
        }
        remount(&certs, MsFlags::empty(), "size=4m,nr_inodes=1000");
    }
    scene.done(&["cert", "generate"]);
    assert_serves(&scene, "all of it").await;
    println!("{} places where it failed: {refused:?}; {} sets seen", refused.len(), witness.end());
    assert!(refused.len() >= 20, "{refused:?}");
}

#[tokio::test]
async fn a_start_on_a_full_or_read_only_volume_serves_what_is_there_also_when_a_renewal_is_due() {
    if !in_own_mounts("a_start_on_a_full_or_read_only_volume_serves_what_is_there_also_when_a_renewal_is_due") {
        return;
    }
    let mut scene = Scene::empty(&backend());
    let certs = scene.folder.path().join("certs");
    let _volume = mount_small(&certs, "size=2m");
    // Due from the beginning, and valid for ten minutes more.
    scene.set("WARDEN_CERT_TTL", "10m");
    scene.set("WARDEN_TOKEN_TTL", "2m");
    scene.done(&["init"]);
    let before = fs::read_link(certs.join("..data")).unwrap();
    fill(&certs);
    let mut warden = scene.warden();
    assert_serves(&scene, "a start on a full volume").await;
    warden.stop();
    relieve(&certs);
    remount(&certs, MsFlags::MS_RDONLY, "size=2m");
    let mut warden = scene.warden();
    assert_serves(&scene, "a start on a read-only volume").await;
    warden.stop();
    assert_eq!(fs::read_link(certs.join("..data")).unwrap(), before);
    assert!(said(&scene.run(&["cert", "generate"])).contains("mounted read-only: mount it writable for the server"));
}

#[tokio::test]
async fn a_bundle_that_could_not_be_written_is_written_when_there_is_room_without_being_asked() {
    if !in_own_mounts("a_bundle_that_could_not_be_written_is_written_when_there_is_room_without_being_asked") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let client = published(&scene, "client");
    let _small = mount_small(&client, "size=256k");
    scene.done(&["init"]);
    let _warden = scene.warden();
    assert_serves(&scene, "the start").await;
    let witness = Witness::of(folders(&scene), look);
    fill(&client);
    let said = scene.done(&["cert", "generate"]);
    assert!(said.contains("bundle client could not be published") && said.contains("free space"), "{said}");
    assert_serves(&scene, "a bundle that could not be written").await;
    let is_current = || {
        fs::read(client.join("temporal-client.crt")).unwrap() == fs::read(scene.path("temporal-client.crt")).unwrap()
    };
    assert!(!is_current());
    relieve(&client);
    let began = Instant::now();
    while !is_current() {
        assert!(began.elapsed() < Duration::from_secs(90), "the bundle is not written");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_whole(&scene, "the second try");
    witness.end();
}
