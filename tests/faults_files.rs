//! Files that were truncated, emptied, exchanged, closed or lost between two starts, and under a running warden.

mod faults_support;
#[path = "gateway/mod.rs"]
mod gateway;
mod warden_scene;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use faults_support::{
    BUNDLES, Own, assert_serves, assert_whole, backend, folders, in_own_mounts, published, scene_with_bundles,
    witness::names,
};
use gateway::{LIST, client};
use nix::sys::signal::Signal;
use warden_scene::Scene;

/// Every file of a generation.
const FILES: [&str; 22] = [
    "ca.crt",
    "ca.key",
    "temporal-server.crt",
    "temporal-server.key",
    "temporal-client.crt",
    "temporal-client.key",
    "temporal-jwt-private.key",
    "temporal-jwt-public.key",
    "temporal-jwks.json",
    "system-token.jwt",
    "worker-token.jwt",
    "client-token.jwt",
    "postgres-password",
    "revocations.json",
    "state.json",
    "manifest.json",
    "bundles/worker/temporal-client.crt",
    "bundles/worker/temporal-client.key",
    "bundles/ui/temporal-client.crt",
    "bundles/ui/temporal-client.key",
    "bundles/ui/ui-token.jwt",
    "..data",
];

/// A scene, a copy of its folder, and the way back to it.
struct Kept {
    scene: Scene,
}

impl Kept {
    fn new() -> Self {
        let scene = Scene::new(&backend());
        let kept = Self { scene };
        copy(&kept.certs(), &kept.scene.folder.path().join("kept"));
        kept
    }

    fn certs(&self) -> PathBuf {
        self.scene.folder.path().join("certs")
    }

    fn file(&self, name: &str) -> PathBuf {
        let generation = self.scene.folder.path().join("certs/..g0");
        if name == "..data" { self.certs().join(name) } else { generation.join(name) }
    }

    fn restore(&self) {
        fs::remove_dir_all(self.certs()).unwrap();
        copy(&self.scene.folder.path().join("kept"), &self.certs());
    }

    /// What can't be made again: the CA and the signing key.
    fn keys(&self) -> Vec<Option<Vec<u8>>> {
        ["ca.crt", "ca.key", "temporal-jwt-private.key"].map(|name| fs::read(self.file(name)).ok()).into()
    }

    /// A start that says what is wrong with `name` and what to do, and changes nothing.
    fn refuses(&self, name: &str, after: &str) {
        let (before, listed) = (self.keys(), list(&self.certs()));
        let log = self.scene.folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut start = self.scene.command(&["run"]);
        let mut start = start.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let (began, said) = (Instant::now(), || fs::read_to_string(&log).unwrap());
        let code = loop {
            match start.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if began.elapsed() < Duration::from_secs(30) => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    start.kill().unwrap();
                    panic!("{after}: it starts all the same: {}", said());
                }
            }
        };
        let said = said();
        assert_eq!(code, Some(1), "{after}: {said}");
        let line = said.lines().find(|line| line.contains("ERROR") && line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{after}: no line names {name}: {said}"));
        assert!(
            ["restore", "ln -s", "remove", "generate-"].iter().any(|advice| line.contains(advice)),
            "{after}: {line}"
        );
        assert_eq!((self.keys(), list(&self.certs())), (before, listed), "{after}");
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn list(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a start makes of the loss of a file: these are made anew, all others are missed by name.
fn is_made_anew(name: &str) -> bool {
    !matches!(name, "ca.crt" | "ca.key" | "temporal-jwt-private.key" | "..data")
}

#[test]
fn truncated_emptied_and_exchanged_files_are_refused_by_name_and_nothing_is_changed() {
    let kept = Kept::new();
    let contents = |name: &str| fs::read(kept.file(name)).unwrap();
    for (at, name) in FILES.iter().enumerate().filter(|(_, name)| !matches!(**name, "..data" | "manifest.json")) {
        let (whole, other) = (contents(name), contents(FILES[(at + 1) % 16]));
        for (what, bytes) in [("truncated", &whole[..whole.len() / 2]), ("emptied", b""), ("exchanged", &other)] {
            // Any JSON object is a state: one that was lost costs precision, never material.
            if (*name, what) == ("state.json", "exchanged") {
                continue;
            }
            fs::write(kept.file(name), bytes).unwrap();
            // A broken CA is told before what can't be judged without it.
            kept.refuses(name.trim_end_matches(".crt").trim_end_matches(".key"), &format!("{name} {what}"));
            fs::write(kept.file(name), &whole).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_was_removed_is_made_anew_or_missed_by_name_and_no_key_is_replaced() {
    let kept = Kept::new();
    for name in FILES.iter().filter(|name| **name != "ca.key") {
        fs::remove_file(kept.file(name)).unwrap();
        let (keys, after) = (kept.keys(), format!("{name} was removed"));
        if is_made_anew(name) {
            let mut warden = kept.scene.warden();
            assert_serves(&kept.scene, &after).await;
            warden.kill();
            assert_whole(&kept.scene, &after);
            kept.scene.done(&["cert", "verify"]);
            assert_eq!(kept.keys(), keys, "{after}");
        } else {
            kept.refuses(name, &after);
        }
        kept.restore();
    }
}

#[test]
fn the_way_back_from_a_lost_link_is_told_and_works() {
    let kept = Kept::new();
    kept.scene.done(&["cert", "generate"]);
    let before = kept.scene.read("ca.key");
    for links in [true, false] {
        fs::remove_file(kept.certs().join("..data")).unwrap();
        if !links {
            for name in list(&kept.certs()).iter().filter(|name| !name.starts_with('.')) {
                fs::remove_file(kept.certs().join(name)).unwrap();
            }
        }
        let said = kept.scene.refused(&["init"]);
        let way = said.split('`').nth(1).unwrap_or_else(|| panic!("{said}"));
        assert!(way.starts_with("ln -s ..g1 /"), "{said}");
        assert!(Command::new("sh").args(["-c", way]).status().unwrap().success());
        kept.scene.done(&["init"]);
        kept.scene.done(&["cert", "verify"]);
        assert_eq!(kept.scene.read("ca.key"), before);
    }
}

#[tokio::test]
async fn files_that_were_closed_to_their_owner_are_opened_and_a_damaged_manifest_is_made_anew() {
    let kept = Kept::new();
    let close = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
    let mode = |name: &str| fs::metadata(kept.file(name)).unwrap().mode() & 0o7777;
    let modes = || FILES.map(mode);
    let (before, keys) = (modes(), kept.keys());
    let manifest = fs::read(kept.file("manifest.json")).unwrap();
    for damage in [&b""[..], b"{", &manifest[..100]] {
        FILES[..21].iter().for_each(|name| close(&kept.file(name)));
        close(&kept.file("bundles/ui"));
        close(&kept.file(""));
        fs::write(kept.file("manifest.json"), damage).unwrap();
        let mut warden = kept.scene.warden();
        assert_serves(&kept.scene, "every file was closed").await;
        warden.kill();
        assert_eq!(modes(), before);
        assert_eq!(kept.keys(), keys);
        assert_eq!(mode(""), 0o755);
        let again: serde_json::Value = serde_json::from_slice(&fs::read(kept.file("manifest.json")).unwrap()).unwrap();
        let first: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(again["files"], first["files"]);
        kept.scene.done(&["cert", "verify"]);
    }
}

#[tokio::test]
async fn whatever_becomes_of_the_files_of_a_running_warden_it_serves_on() {
    let kept = Kept::new();
    let warden = kept.scene.warden();
    assert_serves(&kept.scene, "the start").await;
    let send = kept.scene.connect("temporal-client.crt", "temporal-client.key").await;
    let token = client::bearer(&kept.scene.read("client-token.jwt"));
    let live = fs::read_link(kept.certs().join("..data")).unwrap();
    for name in FILES {
        match name {
            "..data" => fs::remove_file(kept.file(name)).unwrap(),
            _ => fs::write(kept.file(name), "").unwrap(),
        }
        warden.signal(Signal::SIGHUP);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reply = client::call(&send, LIST, &[("authorization", &token)]).await.unwrap();
        assert_eq!(reply.status(), 0, "{name}: {}", reply.message());
        kept.restore();
    }
    let kept_link = fs::read_link(kept.certs().join("..data")).unwrap();
    assert_eq!(kept_link, live);
    warden.signal(Signal::SIGHUP);
    assert_serves(&kept.scene, "all of it").await;
}

/// What happens to a file, in words and in deed.
type Fault<'a> = (&'a str, &'a dyn Fn(&Path));

#[tokio::test]
async fn bundles_spoilt_in_any_way_are_whole_after_the_next_start() {
    if !in_own_mounts("bundles_spoilt_in_any_way_are_whole_after_the_next_start") {
        return;
    }
    let (scene, _mounts) = scene_with_bundles();
    let own = Own::plant(&scene);
    let close = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
    let spoil: [Fault; 8] = [
        ("truncated", &|file| fs::write(file, &fs::read(file).unwrap()[..9]).unwrap()),
        ("emptied", &|file| fs::write(file, "").unwrap()),
        ("exchanged", &|file| drop(fs::copy(file.parent().unwrap().join("ca.crt"), file))),
        ("closed", &|file| close(&fs::canonicalize(file).unwrap())),
        ("removed", &|file| fs::remove_file(fs::canonicalize(file).unwrap()).unwrap()),
        ("a folder", &|file| (fs::remove_file(file).unwrap(), fs::create_dir(file).unwrap()).1),
        ("its generation closed", &|file| close(fs::canonicalize(file).unwrap().parent().unwrap())),
        ("a link elsewhere", &|file| (fs::remove_file(file).unwrap(), symlink("/etc/passwd", file).unwrap()).1),
    ];
    for (what, spoil) in spoil {
        for bundle in BUNDLES {
            let folder = published(&scene, bundle);
            let file = names(&folder)[usize::from(what.len() % 2 == 0) * 2 + 1];
            spoil(&folder.join(file));
        }
        if what == "closed" {
            close(&published(&scene, "ui"));
        }
        let mut warden = scene.warden();
        let began = Instant::now();
        let current = || {
            folders(&scene)[1..].iter().all(|folder| {
                fs::read(folder.join("ca.crt")).is_ok_and(|bytes| bytes == scene.read("ca.crt").as_bytes())
                    && names(folder)
                        .iter()
                        .all(|name| fs::symlink_metadata(folder.join(name)).is_ok_and(|m| m.is_symlink()))
            })
        };
        assert_serves(&scene, what).await;
        while !current() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: a bundle is not made whole");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_whole(&scene, what);
        warden.kill();
    }
    own.assert_untouched("all of it");
}
