//! A volume with its bundles, in mounts of this test's own; what must hold after any fault.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod states;
pub mod trace;
pub mod witness;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    gateway::{LIST, backend::Backend, client},
    warden_scene::Scene,
};
use witness::{look, mixed};

pub const BUNDLES: [&str; 4] = ["client", "worker", "ui", "postgres"];

/// Whether this is the process with mounts of its own; otherwise the test `name` was run in one, or can't be: only
/// root has mounts.
pub fn in_own_mounts(name: &str) -> bool {
    if std::env::var_os("IN_OWN_MOUNTS").is_some() {
        return true;
    }
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture", "--include-ignored"]).env("IN_OWN_MOUNTS", "1");
        let output = command.output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}");
    }
    false
}

/// A frontend that answers from a thread of its own, so that a test may wait for processes.
pub fn backend() -> String {
    let (send, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let backend = Backend::start().await;
            send.send(backend.address.to_string()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    address.recv().unwrap()
}

/// Mounted as long as it lives: drop it before the folder it is in.
pub struct Mounts(Vec<PathBuf>);

impl Drop for Mounts {
    fn drop(&mut self) {
        for path in &self.0 {
            umount2(path, MntFlags::MNT_DETACH).unwrap();
        }
    }
}

/// A scene with all its bundles, each of them mounted, after its first start.
pub fn scene_with_bundles() -> (Scene, Mounts) {
    let mut scene = Scene::empty(&backend());
    scene.set("WARDEN_POSTGRES_SANS", "postgres");
    let mounts = mount_bundles(&scene);
    scene.done(&["init"]);
    (scene, mounts)
}

/// Mounts each bundle's folder, as a volume would be.
pub fn mount_bundles(scene: &Scene) -> Mounts {
    let paths = BUNDLES.map(|bundle| published(scene, bundle));
    for path in &paths {
        fs::create_dir_all(path).unwrap();
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    Mounts(paths.into())
}

/// A file system of so many bytes (`size=48k`), or files (`nr_inodes=9`), at `path`.
pub fn mount_small(path: &Path, options: &str) -> Mounts {
    fs::create_dir_all(path).unwrap();
    mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    Mounts(vec![path.to_owned()])
}

/// Changes its options, or its size.
pub fn remount(path: &Path, flags: MsFlags, options: &str) {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_REMOUNT | flags, Some(options)).unwrap();
}

pub fn published(scene: &Scene, bundle: &str) -> PathBuf {
    scene.folder.path().join("published").join(bundle)
}

/// The server's folder and those of the bundles.
pub fn folders(scene: &Scene) -> Vec<PathBuf> {
    folders_below(scene.folder.path())
}

/// The same below a copy of a scene's folder.
pub fn folders_below(root: &Path) -> Vec<PathBuf> {
    let bundles = BUNDLES.map(|bundle| root.join("published").join(bundle));
    [root.join("certs")].into_iter().chain(bundles).filter(|path| path.exists()).collect()
}

/// Each folder holds a set that belongs together, or none yet.
pub fn assert_whole(scene: &Scene, after: &str) {
    assert_whole_below(scene.folder.path(), after);
}

pub fn assert_whole_below(root: &Path, after: &str) {
    for folder in folders_below(root) {
        if let Some(look) = look(&folder) {
            mixed(&look).unwrap_or_else(|why| panic!("after {after}: {}: {why}", folder.display()));
        }
    }
}

/// No private key, token or password can be read by everybody, in whatever half-made folder it lies.
pub fn assert_secret(scene: &Scene, after: &str) {
    assert_secret_below(scene.folder.path(), after);
}

pub fn assert_secret_below(root: &Path, after: &str) {
    for folder in folders_below(root) {
        each_file(&folder, &mut |path, metadata| {
            let name = path.file_name().unwrap().to_string_lossy();
            let secret = name.ends_with(".jwt")
                || name.contains("password")
                || fs::read(path).is_ok_and(|bytes| bytes.windows(11).any(|window| window == b"PRIVATE KEY"));
            let open =
                secret && !path.components().any(|part| part.as_os_str() == "mine") && metadata.mode() & 0o007 != 0;
            assert!(!open, "after {after}: {} has mode {:o}", path.display(), metadata.mode());
        });
    }
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => each_file(&path, look),
            Ok(metadata) if metadata.is_file() => look(&path, &metadata),
            _ => {}
        }
    }
}

/// What a user keeps in the warden's folders beside its files.
pub struct Own(Vec<(PathBuf, String)>);

impl Own {
    pub fn plant(scene: &Scene) -> Self {
        let mut planted = Vec::new();
        for folder in folders(scene) {
            fs::create_dir_all(folder.join("mine")).unwrap();
            for name in ["notes.txt", "..old", "ca.crt.bak", "mine/ca.key", "mine/manifest.json"] {
                let path = folder.join(name);
                fs::write(&path, "BEGIN PRIVATE KEY of the user's own").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
                if name != "mine/ca.key" {
                    fs::write(&path, "the user's own").unwrap();
                }
                planted.push(path);
            }
            std::os::unix::fs::symlink("mine/ca.key", folder.join("link")).unwrap();
            planted.push(folder.join("link"));
        }
        Self(planted.into_iter().map(|path| (path.clone(), describe(&path))).collect())
    }

    pub fn assert_untouched(&self, after: &str) {
        for (path, was) in &self.0 {
            assert_eq!(&describe(path), was, "after {after}: {}", path.display());
        }
    }
}

fn describe(path: &Path) -> String {
    let m = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
    format!("{:o} {}:{} {} {times:?} {:?}", m.mode(), m.uid(), m.gid(), m.ino(), fs::read(path).unwrap())
}

/// A call through the gateway with the files of the folder succeeds.
pub async fn assert_serves(scene: &Scene, after: &str) {
    let began = Instant::now();
    while !witness::names(Path::new("client")).iter().all(|name| scene.path(name).exists()) {
        assert!(began.elapsed() < Duration::from_secs(60), "after {after}: nothing is made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let send = scene.connect("temporal-client.crt", "temporal-client.key").await;
    let token = client::bearer(&scene.read("client-token.jwt"));
    let reply = client::call(&send, LIST, &[("authorization", &token)]).await.unwrap();
    assert_eq!(reply.status(), 0, "after {after}: {}", reply.message());
}
