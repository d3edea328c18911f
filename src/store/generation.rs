//! Generations: the set is published whole by renaming one link, at any instant and after any crash.
//!
//! `NAME -> ..data/NAME`, `..data -> ..gN`, and `..gN/` with real files and a manifest. The rename of `..data` is
//! the only commit point; all before it is swept by the next writer, all after it is repaired by it.

use std::{collections::BTreeSet, path::Path, time::Duration};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    Error, File, Found, Lock, Set, Snapshot,
    folder::{Dir, Entry, own_uid},
    set::top,
};

pub(super) const DATA: &str = "..data";
pub(super) const DATA_NEW: &str = "..data.new";
pub(super) const LINK_NEW: &str = "..link.new";
const MANIFEST: &str = "manifest.json";
/// A manifest to be, in the place of one that was lost.
const MANIFEST_NEW: &str = "manifest.json.new";
/// How often a reader without the lock starts over.
const UNLOCKED_TRIES: u8 = 8;
/// Folders inside a generation: `bundles/NAME/`.
pub(super) const DEPTH: u8 = 4;

/// What to do with things at our names that we did not put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Name them and refuse: the server's own folder.
    Refuse,
    /// Remove them: a bundle's folder, in which its consumer may be root.
    Remove,
}

/// The steps of a publication, each announced before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Remove what a crash left.
    Sweep,
    /// Create the generation's folder.
    MakeFolder,
    /// Write one file (announced for each).
    WriteFile,
    /// Write the manifest and sync.
    WriteManifest,
    /// Read everything back and check it.
    Verify,
    /// Create the new `..data` link beside the old.
    StageLink,
    /// Rename it: the commit.
    Switch,
    /// Make one flat name a link (announced for each).
    Link,
    /// Remove generations older than two.
    Prune,
}

/// What a generation was published with.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    generation: u64,
    written_at: i64,
    files: std::collections::BTreeMap<String, String>,
}

/// A folder of generations.
#[derive(Debug)]
pub struct Generations {
    pub(super) dir: Dir,
    pub(super) foreign: Foreign,
}

impl Generations {
    /// Opens the server's own folder, creating it when it is missing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Self::open_existing(path);
        }
        let created = std::fs::create_dir_all(path);
        created.map_err(|source| Error::Io { operation: "create the folder", path: path.to_owned(), source })?;
        let this = Self::open_existing(path)?;
        // Whatever the umask: Temporal, another user, reads its JWKS there.
        this.dir.chmod(0o755)?;
        Ok(this)
    }

    /// Opens the server's own folder, changing nothing.
    pub fn open_existing(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open(path)?;
        let stat = dir.stat()?;
        if stat.st_uid != own_uid() && stat.st_uid != 0 {
            let (found, own) = (stat.st_uid, own_uid());
            let fix = format!("give it back (chown -R {own} on its volume), or mount another volume there");
            return Err(Error::foreign_but(path, format!("belongs to uid {found}, not to uid {own}"), fix));
        }
        Ok(Self { dir, foreign: Foreign::Refuse })
    }

    /// Takes the one writer's lock.
    pub fn lock(&self, timeout: Duration) -> Result<Lock, Error> {
        Lock::acquire(&self.dir, timeout)
    }

    /// The generation `..data` names. Cheap: one system call or two.
    pub fn current(&self) -> Result<Option<u64>, Error> {
        match self.dir.entry(DATA)? {
            Entry::Missing => Ok(None),
            Entry::Link(target) => match number(&target) {
                Some(n) => Ok(Some(n)),
                None => Err(Error::foreign(&self.dir.at(DATA), format!("links to {target:?}, not to a generation"))),
            },
            _ => Err(Error::foreign(&self.dir.at(DATA), "is not a link to a generation")),
        }
    }

    /// Everything there is, `names` under their flat names included.
    pub fn snapshot(&self, names: &[&str]) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot { generation: self.current()?, ..Snapshot::default() };
        if let Some(generation) = snapshot.generation {
            if self.dir.entry(&folder(generation))? != Entry::Directory {
                let gone = folder(generation);
                let fix = format!(
                    "restore {gone}, point the link to a ..gN that is there (ln -sfn), or empty the folder to start over with a new CA"
                );
                return Err(Error::foreign_but(&self.dir.at(DATA), format!("names {gone}, which is gone"), fix));
            }
            (snapshot.files, snapshot.unproven) = self.read(generation)?;
        } else if self.foreign == Foreign::Refuse {
            self.refuse_unlinked(names)?;
        }
        for name in names {
            match self.dir.entry(name)? {
                Entry::Missing => {
                    if snapshot.files.keys().any(|path| top(path) == *name) {
                        snapshot.unlinked.insert((*name).to_owned());
                    }
                }
                Entry::Link(target) if target == flat_target(name) => {}
                Entry::Link(target) => {
                    let what = format!("is a link to {target:?} that the warden did not make and does not follow");
                    return Err(Error::foreign(&self.dir.at(name), what));
                }
                Entry::File => {
                    snapshot.files.insert((*name).to_owned(), found(&self.dir, name, |_| false)?);
                    snapshot.flat.insert((*name).to_owned());
                }
                Entry::Directory | Entry::Other => {
                    return Err(Error::foreign(&self.dir.at(name), "is not a regular file"));
                }
            }
        }
        Ok(snapshot)
    }

    /// Without `..data` a set is there to be lost: a first publication that broke off leaves no generation but `..g0`, and
    /// no link to any.
    fn refuse_unlinked(&self, names: &[&str]) -> Result<(), Error> {
        let newest = self.dir.names()?.iter().filter_map(|name| number(name)).max().unwrap_or(0);
        let link = names.iter().find(|name| self.dir.entry(name).is_ok_and(|e| e == Entry::Link(flat_target(name))));
        let what = match link {
            Some(name) => format!("the link {name} to it"),
            None if newest > 0 => folder(newest),
            None => return Ok(()),
        };
        Err(Error::Unlinked { path: self.dir.at(DATA), what, newest: folder(newest) })
    }

    /// [`Self::snapshot`] without the lock: taken again while a writer switches or prunes under it.
    pub fn snapshot_unlocked(&self, names: &[&str]) -> Result<Snapshot, Error> {
        for _ in 0..UNLOCKED_TRIES {
            let before = self.current()?;
            let snapshot = self.snapshot(names);
            if self.current()? == before {
                return snapshot;
            }
        }
        self.snapshot(names)
    }

    /// Every file of one generation, and whether its manifest is lost.
    pub(super) fn read(&self, generation: u64) -> Result<(std::collections::BTreeMap<String, Found>, bool), Error> {
        let dir = self.dir.sub(&folder(generation))?;
        let manifest: Option<Manifest> =
            dir.read(MANIFEST).ok().and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok());
        let mut files = std::collections::BTreeMap::new();
        read_into(&dir, "", manifest.as_ref(), DEPTH, &mut files)?;
        files.remove(MANIFEST);
        files.remove(MANIFEST_NEW);
        Ok((files, manifest.is_none()))
    }

    /// Writes the manifest of a generation anew, from what is there.
    pub(super) fn prove(&self, generation: u64, set: &Set, now: OffsetDateTime) -> Result<(), Error> {
        let dir = self.dir.sub(&folder(generation))?;
        dir.remove(MANIFEST_NEW, 0)?;
        dir.write_new(MANIFEST_NEW, &manifest(generation, set, now)?)?;
        dir.remove(MANIFEST, DEPTH)?;
        dir.rename(MANIFEST_NEW, MANIFEST)?;
        dir.sync()
    }

    /// Publishes `set` as the next generation. `verify` sees it as read back from disk, before the switch.
    pub fn publish(
        &self,
        set: &Set,
        now: OffsetDateTime,
        verify: &dyn Fn(&Set) -> Result<(), String>,
    ) -> Result<u64, Error> {
        self.publish_observed(set, now, verify, &mut |_| true)
    }

    /// [`Self::publish`], announcing each step; an observer that answers `false` ends it there, as a crash would.
    pub fn publish_observed(
        &self,
        set: &Set,
        now: OffsetDateTime,
        verify: &dyn Fn(&Set) -> Result<(), String>,
        observer: &mut dyn FnMut(Step) -> bool,
    ) -> Result<u64, Error> {
        let mut go = |step| if observer(step) { Ok(()) } else { Err(Error::Stopped(step)) };
        go(Step::Sweep)?;
        let current = self.sweep()?;
        let next = current.map_or(0, |n| n + 1);
        let switched = self.stage(next, set, now, verify, &mut go).and_then(|()| self.switch(next, &mut go));
        if let Err(error) = switched {
            if !matches!(error, Error::Stopped(_)) {
                // Best effort: the next writer sweeps it anyway, but on a full volume it is in the way.
                let _ = self.dir.remove(DATA_NEW, 0);
                let _ = self.dir.remove(&folder(next), DEPTH);
            }
            return Err(error);
        }
        self.dir.sync()?;
        let names: BTreeSet<_> = set.keys().map(|path| top(path).to_owned()).collect();
        self.link_names(&names, &mut go)?;
        go(Step::Prune)?;
        self.prune(next)?;
        Ok(next)
    }

    fn stage(
        &self,
        next: u64,
        set: &Set,
        now: OffsetDateTime,
        verify: &dyn Fn(&Set) -> Result<(), String>,
        go: &mut dyn FnMut(Step) -> Result<(), Error>,
    ) -> Result<(), Error> {
        go(Step::MakeFolder)?;
        let staged = self.dir.make_sub(&folder(next), 0o700)?;
        for (path, file) in set {
            go(Step::WriteFile)?;
            write_at(&staged, path, file)?;
        }
        go(Step::WriteManifest)?;
        staged.write_new(MANIFEST, &manifest(next, set, now)?)?;
        sync_folders(&staged)?;
        staged.chmod(0o755)?;
        go(Step::Verify)?;
        self.check(next, set, verify)
    }

    /// The commit: all or nothing.
    fn switch(&self, next: u64, go: &mut dyn FnMut(Step) -> Result<(), Error>) -> Result<(), Error> {
        go(Step::StageLink)?;
        self.dir.sync()?;
        self.dir.link(&folder(next), DATA_NEW)?;
        go(Step::Switch)?;
        self.dir.rename(DATA_NEW, DATA)
    }

    /// What lies on the disk must be what was meant, and pass the caller's check.
    fn check(&self, next: u64, set: &Set, verify: &dyn Fn(&Set) -> Result<(), String>) -> Result<(), Error> {
        let rejected = |reason: String| Error::Rejected { path: self.dir.at(&folder(next)), reason };
        let (read, _) = self.read(next)?;
        for (path, file) in set {
            let same = read.get(path).is_some_and(|f| f.bytes == file.bytes && f.mode == file.mode && f.intact);
            if !same {
                return Err(rejected(format!("{path} reads back differently")));
            }
        }
        let read = read.into_iter().map(|(path, f)| (path, File { bytes: f.bytes, mode: f.mode, gid: None })).collect();
        verify(&read).map_err(rejected)
    }
}

fn write_at(dir: &Dir, path: &str, file: &File) -> Result<(), Error> {
    let Some((folder, rest)) = path.split_once('/') else { return dir.write_new(path, file) };
    let sub = match dir.entry(folder)? {
        Entry::Missing => dir.make_sub(folder, 0o700)?,
        _ => dir.sub(folder)?,
    };
    write_at(&sub, rest, file)
}

fn sync_folders(dir: &Dir) -> Result<(), Error> {
    for name in dir.names()? {
        if dir.entry(&name)? == Entry::Directory {
            sync_folders(&dir.sub(&name)?)?;
        }
    }
    dir.sync()
}

fn read_into(
    dir: &Dir,
    prefix: &str,
    manifest: Option<&Manifest>,
    depth: u8,
    files: &mut std::collections::BTreeMap<String, Found>,
) -> Result<(), Error> {
    for name in dir.names()? {
        let path = format!("{prefix}{name}");
        match dir.entry(&name)? {
            Entry::Directory if depth > 0 => {
                read_into(&dir.sub(&name)?, &format!("{path}/"), manifest, depth - 1, files)?;
            }
            Entry::File => {
                let found =
                    found(dir, &name, |bytes| manifest.is_none_or(|m| m.files.get(&path) == Some(&sha256(bytes))))?;
                files.insert(path, found);
            }
            _ => return Err(Error::foreign(&dir.at(&name), "is not a regular file")),
        }
    }
    Ok(())
}

fn found(dir: &Dir, name: &str, published: impl FnOnce(&[u8]) -> bool) -> Result<Found, Error> {
    let (bytes, stat) = dir.read(name)?;
    let intact = published(&bytes);
    Ok(Found { bytes, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, intact })
}

fn manifest(generation: u64, set: &Set, now: OffsetDateTime) -> Result<File, Error> {
    let files = set.iter().map(|(path, file)| (path.clone(), sha256(&file.bytes))).collect();
    let manifest = Manifest { generation, written_at: now.unix_timestamp(), files };
    let failed = |e: serde_json::Error| Error::Io {
        operation: "write",
        path: MANIFEST.into(),
        source: std::io::Error::other(e),
    };
    let bytes = Zeroizing::new(serde_json::to_vec_pretty(&manifest).map_err(failed)?);
    Ok(File { bytes, mode: 0o600, gid: None })
}

fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn folder(generation: u64) -> String {
    format!("..g{generation}")
}

pub(super) fn flat_target(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// The number in a generation's name, as we write it and small enough to be counted on.
pub(super) fn number(name: &str) -> Option<u64> {
    let n = name.strip_prefix("..g")?.parse().ok().filter(|n| *n < 1 << 53)?;
    (folder(n) == name).then_some(n)
}
