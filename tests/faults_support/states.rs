//! What lies on the disk before a change, kept as a copy; and a next start on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use temporal_warden::{
    clock,
    config::{Config, load},
    rotation::{self, Request, State},
    store::Mounts,
};

use super::{assert_secret_below, assert_whole_below, folders_below, witness::look};
use crate::warden_scene::Scene;

/// The folders a publication writes to.
const WRITTEN: [&str; 2] = ["certs", "published"];

/// Everything in them: mode, owner, group, and content or target, by path.
type Entries = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// What a kill at a certain change would leave. Two that are equal are one: a process that is gone leaves only files.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left(Entries);

impl Left {
    /// What lies below `root` now.
    pub fn read(root: &Path) -> Self {
        let mut entries = Entries::new();
        for name in WRITTEN {
            read_into(root, Path::new(name), &mut entries);
        }
        Self(entries)
    }

    /// Lays it into an empty folder.
    fn lay(&self, root: &Path) {
        for (path, (mode, uid, gid, content)) in &self.0 {
            let path = root.join(path);
            match mode & nix::libc::S_IFMT {
                nix::libc::S_IFDIR => fs::create_dir(&path).unwrap(),
                nix::libc::S_IFLNK => symlink(std::str::from_utf8(content).unwrap(), &path).unwrap(),
                _ => fs::write(&path, content).unwrap(),
            }
            lchown(&path, Some(*uid), Some(*gid)).unwrap();
            if mode & nix::libc::S_IFMT != nix::libc::S_IFLNK {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777)).unwrap();
            }
        }
    }

    /// What a user keeps there.
    fn own(&self) -> Entries {
        let is_own = |path: &&PathBuf| path.iter().any(|part| part == "mine" || part == "notes.txt" || part == "..old");
        self.0.keys().filter(is_own).map(|path| (path.clone(), self.0[path].clone())).collect()
    }
}

fn read_into(root: &Path, below: &Path, entries: &mut Entries) {
    let path = root.join(below);
    // It may be removed by the one who is looked at: then it is not there.
    let Ok(metadata) = fs::symlink_metadata(&path) else { return };
    let content = match () {
        () if metadata.is_symlink() => fs::read_link(&path).unwrap().to_string_lossy().into_owned().into_bytes(),
        () if metadata.is_file() => fs::read(&path).unwrap(),
        () => Vec::new(),
    };
    entries.insert(below.to_owned(), (metadata.mode(), metadata.uid(), metadata.gid(), content));
    if metadata.is_dir() {
        for entry in fs::read_dir(&path).unwrap() {
            read_into(root, &below.join(entry.unwrap().file_name()), entries);
        }
    }
}

/// Starts on what was left, by the code with which PID 1 begins, with the settings of a scene.
pub struct Starts {
    environment: Vec<(String, String)>,
    root: String,
}

impl Starts {
    pub fn of(scene: &Scene) -> Self {
        let command = scene.command(&[]);
        let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
        let environment = command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
        Self { environment: environment.collect(), root: text(scene.folder.path().as_os_str()) }
    }

    fn config(&self, root: &Path) -> Config {
        let moved = |text: &String| text.replace(&self.root, &root.to_string_lossy());
        let environment = self.environment.iter().map(|(name, value)| (name.clone(), moved(value)));
        load::from(environment, |path| fs::read_to_string(path)).expect("the scene's settings are valid").0
    }

    /// A start on a copy of what was left: what a reader finds before it is whole, and after it everything is there and
    /// good, the bundles are those of the set, and a second start has nothing to do. `kept`: CA and signing keys one of
    /// which must be in force, where there were any.
    pub fn check(&self, left: &Left, kept: &BTreeSet<Vec<u8>>, after: &str) {
        // In memory: nothing is to survive a power failure.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let root = folder.path();
        left.lay(root);
        assert_whole_below(root, after);
        assert_secret_below(root, after);
        let (config, mounts) = (self.config(root), mounts(root));
        let start = || {
            let started = rotation::apply_with(&config, clock::now(), Request::MakeMissing, &mounts, &mut |_| {});
            started.unwrap_or_else(|why| panic!("after {after}: {why}"))
        };
        let live = start();
        assert_whole_below(root, after);
        assert_secret_below(root, after);
        assert_eq!(Left::read(root).own(), left.own(), "after {after}: the user's own");
        for artefact in &live.artefacts {
            assert!(artefact.state == State::Good, "after {after}: {artefact:?}");
        }
        for name in ["ca.key", "temporal-jwt-private.key"] {
            let now = fs::read(root.join("certs").join(name)).unwrap();
            assert!(kept.is_empty() || kept.contains(&now), "after {after}: another {name}");
        }
        assert_bundles(root, after);
        assert!(!start().changed, "after {after}: a second start makes more");
    }
}

/// Says of every bundle's folder that it is a mount.
fn mounts(root: &Path) -> Mounts {
    let lines = folders_below(root).into_iter().skip(1).map(|path| {
        let path = path.canonicalize().unwrap();
        format!("1 1 0:1 / {} rw - ext4 x rw\n", path.display())
    });
    Mounts::parse(lines.collect::<String>().as_bytes())
}

/// What the bundles hold is what the server's folder holds.
fn assert_bundles(root: &Path, after: &str) {
    let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|why| panic!("after {after}: {}: {why}", path.display()));
    let certs = root.join("certs");
    for folder in folders_below(root).into_iter().skip(1) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let seen = look(&folder).unwrap_or_else(|| panic!("after {after}: the bundle {name} is not there"));
        let ours = |file: &str| match (name, file) {
            (_, "ca.crt") | ("client", _) | (_, "worker-token.jwt") => certs.join(file),
            (_, "password") => certs.join("postgres-password"),
            _ => certs.join("bundles").join(name).join(file),
        };
        for (file, bytes) in seen {
            assert!(bytes == read(ours(file)), "after {after}: {file} of the bundle {name}");
        }
    }
}
