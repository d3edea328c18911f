//! The generation with which everything was last healthy: `..healthy -> ..gN`, beside `..data` and renamed as that is.
//! It is kept however many come after it, to be put back when one of them fails.

use super::{
    Error, File, Set,
    folder::Entry,
    generation::{Generations, folder, number},
};

const HEALTHY: &str = "..healthy";
const HEALTHY_NEW: &str = "..healthy.new";

impl Generations {
    /// The one that was last healthy; `None` as well when the link is none of ours.
    pub fn healthy(&self) -> Result<Option<u64>, Error> {
        Ok(match self.dir.entry(HEALTHY)? {
            Entry::Link(target) => number(&target),
            _ => None,
        })
    }

    /// Notes that everything was healthy with this one. To be called under the lock.
    pub fn note_healthy(&self, generation: u64) -> Result<(), Error> {
        self.dir.remove(HEALTHY_NEW, 0)?;
        self.dir.link(&folder(generation), HEALTHY_NEW)?;
        self.dir.rename(HEALTHY_NEW, HEALTHY)?;
        self.dir.sync()
    }

    /// The files of an earlier generation; `None` when it is gone, or is no longer what was published.
    pub fn earlier(&self, generation: u64) -> Result<Option<Set>, Error> {
        if self.dir.entry(&folder(generation))? != Entry::Directory {
            return Ok(None);
        }
        let (files, unproven) = self.read(generation)?;
        let whole = !unproven && !files.is_empty() && files.values().all(|file| file.intact);
        let files = files.into_iter().map(|(path, f)| (path, File { bytes: f.bytes, mode: f.mode, gid: None }));
        Ok(whole.then(|| files.collect()))
    }
}
