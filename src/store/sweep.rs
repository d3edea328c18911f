//! Around a publication: what a crash left is removed, flat links and modes are put right, old generations go.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{
    Error, Set, Snapshot,
    folder::{Dir, Entry},
    generation::{DATA, DATA_NEW, DEPTH, Foreign, Generations, LINK_NEW, Step, flat_target, folder, number},
    set::top,
};

/// Generations kept behind the current one, for readers that are still in them.
const KEPT: u64 = 2;
/// Whoever may write a folder may exchange the links in it.
const WRITE_OF_OTHERS: u32 = 0o022;

impl Generations {
    /// Removes what an interrupted writer left; answers with the current generation.
    pub(super) fn sweep(&self) -> Result<Option<u64>, Error> {
        let current = match self.current() {
            Err(Error::Foreign { .. }) if self.foreign == Foreign::Remove => {
                self.dir.remove(DATA, DEPTH)?;
                None
            }
            other => other?,
        };
        for name in self.dir.names()? {
            let staged = number(&name).is_some_and(|n| current.is_none_or(|c| n > c));
            if staged || name == DATA_NEW || name == LINK_NEW {
                self.dir.remove(&name, DEPTH)?;
            }
        }
        Ok(current)
    }

    /// Makes every name a link into `..data`, and removes links of ours whose file is no more.
    pub(super) fn link_names(
        &self,
        names: &BTreeSet<String>,
        go: &mut dyn FnMut(Step) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut changed = false;
        for name in names {
            let entry = self.dir.entry(name)?;
            if entry == Entry::Link(flat_target(name)) {
                continue;
            }
            go(Step::Link)?;
            if entry == Entry::Directory {
                self.remove_foreign(name)?;
            }
            self.dir.remove(LINK_NEW, 0)?;
            self.dir.link(&flat_target(name), LINK_NEW)?;
            self.dir.rename(LINK_NEW, name)?;
            changed = true;
        }
        for name in self.dir.names()? {
            if !names.contains(&name) && self.dir.entry(&name)? == Entry::Link(flat_target(&name)) {
                self.dir.remove(&name, 0)?;
                changed = true;
            }
        }
        if changed { self.dir.sync() } else { Ok(()) }
    }

    fn remove_foreign(&self, name: &str) -> Result<(), Error> {
        match self.foreign {
            Foreign::Remove => self.dir.remove(name, DEPTH),
            Foreign::Refuse => Err(Error::foreign(&self.dir.at(name), "is a folder")),
        }
    }

    pub(super) fn prune(&self, current: u64) -> Result<(), Error> {
        let healthy = self.healthy()?;
        for name in self.dir.names()? {
            if number(&name).is_some_and(|n| n.saturating_add(KEPT) < current && Some(n) != healthy) {
                self.dir.remove(&name, DEPTH)?;
            }
        }
        Ok(())
    }

    /// Lets us read what is ours again, whatever its mode became, and nobody else exchange the links beside it; answers
    /// with what it did.
    pub fn open_up(&self) -> Result<Vec<String>, Error> {
        let mut done = Vec::new();
        let stat = self.dir.stat()?;
        // A folder of somebody else's is not ours to close: that user was given it on purpose.
        if stat.st_mode & WRITE_OF_OTHERS != 0 && stat.st_uid == super::own_uid() {
            let (mode, before) = (stat.st_mode & 0o7777 & !WRITE_OF_OTHERS, stat.st_mode & 0o7777);
            self.dir.chmod(mode)?;
            done.push(format!("mode of {} set to {mode:04o} (was {before:04o})", self.dir.path().display()));
        }
        if let Some(generation) = self.current()? {
            open_up(&self.dir, &folder(generation), DEPTH, &mut done)?;
        }
        Ok(done)
    }

    /// Puts right what needs no new generation: missing links, modes and groups that drifted, a lost manifest, leftovers
    /// of a crash. Changes nothing when all is well; answers with what it did.
    pub fn repair(&self, snapshot: &Snapshot, wanted: &Set, now: OffsetDateTime) -> Result<Vec<String>, Error> {
        let Some(generation) = snapshot.generation else { return Ok(Vec::new()) };
        let mut done = Vec::new();
        self.sweep()?;
        for (path, file) in wanted {
            let Some(found) = snapshot.files.get(path).filter(|_| !snapshot.flat.contains(path)) else { continue };
            let group = file.gid.unwrap_or(0);
            if found.mode != file.mode || (super::own_uid() == 0 && found.gid != group) {
                self.adjust(generation, path, file.mode, file.gid)?;
                done.push(format!("mode of {path} set to {:04o} (was {:04o})", file.mode, found.mode));
            }
        }
        let mode = self.dir.sub(&folder(generation))?.stat()?.st_mode & 0o7777;
        if mode != 0o755 {
            self.dir.sub(&folder(generation))?.chmod(0o755)?;
            done.push(format!("mode of {} set to 0755 (was {mode:04o})", folder(generation)));
        }
        if snapshot.unproven {
            self.prove(generation, wanted, now)?;
            done.push(format!("manifest of {} was lost or damaged: made anew from its files", folder(generation)));
        }
        if !snapshot.unlinked.is_empty() {
            let names = wanted.keys().map(|path| top(path).to_owned()).collect();
            self.link_names(&names, &mut |_| Ok(()))?;
            done.extend(snapshot.unlinked.iter().map(|name| format!("link {name} restored")));
        }
        self.prune(generation)?;
        Ok(done)
    }

    fn adjust(&self, generation: u64, path: &str, mode: u32, gid: Option<u32>) -> Result<(), Error> {
        let mut dir = self.dir.sub(&folder(generation))?;
        let mut rest = path;
        while let Some((head, tail)) = rest.split_once('/') {
            dir = dir.sub(head)?;
            rest = tail;
        }
        dir.adjust(rest, mode, gid)
    }
}

fn open_up(dir: &Dir, name: &str, depth: u8, done: &mut Vec<String>) -> Result<(), Error> {
    if let Some(mode) = dir.open_up(name)? {
        done.push(format!("{} was closed to its owner (mode {mode:04o}): opened to it", dir.at(name).display()));
    }
    if depth > 0 && dir.entry(name)? == Entry::Directory {
        let sub = dir.sub(name)?;
        for inner in sub.names()? {
            open_up(&sub, &inner, depth - 1, done)?;
        }
    }
    Ok(())
}
