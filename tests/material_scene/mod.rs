//! A configuration on a folder of its own, and a look at everything in it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration as StdDuration,
};

use tempfile::TempDir;
use temporal_warden::{
    config::*,
    rotation::{self, Error, Event, Live, Request},
    store::{File, Mounts, Set},
};
use time::{Duration, OffsetDateTime, macros::datetime};
use zeroize::Zeroizing;

pub const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const DAY: StdDuration = StdDuration::from_secs(86_400);

pub struct Scene {
    pub config: Config,
    pub folder: TempDir,
    pub now: OffsetDateTime,
    pub mounts: Mounts,
}

pub fn sans(names: &[&str]) -> Vec<SanName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        Self { config, folder, now: NOW, mounts: Mounts::default() }
    }

    pub fn dir(&self) -> &Path {
        &self.config.certs.dir
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Replaces a file's content where it lies, behind its link.
    pub fn overwrite(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn apply(&self, request: Request) -> Result<(Live, Vec<Event>), Error> {
        let mut events = Vec::new();
        let live = rotation::apply_with(&self.config, self.now, request, &self.mounts, &mut |e| events.push(e))?;
        Ok((live, events))
    }

    pub fn start(&self) -> (Live, Vec<Event>) {
        self.apply(Request::MakeMissing).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Makes every bundle's folder and says that each is a mount.
    pub fn mount_bundles(&mut self) {
        let mut text = String::new();
        for name in ["client", "worker", "postgres", "ui"] {
            let path = self.bundle(name);
            fs::create_dir_all(&path).unwrap();
            text.push_str(&format!("1 1 0:1 / {} rw - ext4 x rw\n", path.canonicalize().unwrap().display()));
        }
        self.mounts = Mounts::parse(text.as_bytes());
    }

    pub fn bundle(&self, name: &str) -> PathBuf {
        self.config.certs.publish_dir.join(name)
    }

    /// Every entry below: kind, content, mode, inode, times.
    pub fn look(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        look_into(self.folder.path(), &mut seen);
        seen
    }

    /// The same settings for a process of the binary.
    pub fn environment(&self) -> [(String, String); 7] {
        environment(self.folder.path())
    }

    pub fn later(&mut self, by: Duration) {
        self.now += by;
    }
}

fn look_into(dir: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    let describe = |path: &Path| {
        let m = fs::symlink_metadata(path).unwrap();
        let content = match () {
            () if m.is_symlink() => format!("{:?}", fs::read_link(path).unwrap()),
            () if m.is_file() => format!("{:?}", fs::read(path).unwrap()),
            () => String::new(),
        };
        let (mode, ino, times) = (m.mode(), m.ino(), (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()));
        format!("{mode:o} {}:{} {ino} {times:?} {content}", m.uid(), m.gid())
    };
    seen.insert(dir.to_owned(), describe(dir));
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            look_into(&path, seen);
        } else {
            seen.insert(path.clone(), describe(&path));
        }
    }
}

/// A configuration with defaults, everything below `folder`.
pub fn config(folder: &Path) -> Config {
    let (mut config, _rows) =
        load::from(environment(folder), |path| fs::read_to_string(path)).expect("defaults are valid");
    // Years as the tests count them, without leap days.
    config.certs.ca_ttl = DAY * 3650;
    config
}

fn environment(folder: &Path) -> [(String, String); 7] {
    let below = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let environment = [
        ("DB", "sqlite".to_owned()),
        ("WARDEN_RUNTIME_DIR", below("run")),
        ("WARDEN_CERTS_DIR", below("certs")),
        ("WARDEN_PUBLISH_DIR", below("published")),
        ("WARDEN_DATA_DIR", below("data")),
        ("WARDEN_AUDIT_FILE", below("audit")),
        ("WARDEN_POSTGRES_SANS", "postgres".to_owned()),
    ];
    environment.map(|(name, value)| (name.to_owned(), value))
}

pub const NAMES: [&str; 4] = ["a", "b", "folder/c", "d"];

/// A set all of whose files say `mark`.
pub fn set(mark: &str) -> Set {
    let file = || File { bytes: Zeroizing::new(mark.as_bytes().to_vec()), mode: 0o640, gid: None };
    NAMES.iter().map(|name| ((*name).to_owned(), file())).collect()
}

/// What a reader that resolves `..data` once sees: one mark, or none before the first publication.
pub fn marks_through_data(dir: &Path) -> BTreeSet<String> {
    let Ok(generation) = fs::canonicalize(dir.join("..data")) else { return BTreeSet::new() };
    NAMES.iter().map(|name| fs::read_to_string(generation.join(name)).unwrap()).collect()
}

/// Runs one of the `child_` functions below in a process of its own.
pub fn child(name: &str, folder: &Path, wrapper: &[&str]) -> Child {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(AsRef::as_ref).collect();
    words.push(exe.as_os_str());
    Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("MATERIAL_FOLDER", folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

pub fn child_folder() -> std::path::PathBuf {
    std::env::var_os("MATERIAL_FOLDER").expect("only run as a child").into()
}
