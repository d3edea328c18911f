//! The volumes the warden writes to: a full one, or one that is mounted read-only, is found before something is due.

use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::Finding;
use crate::config::Config;

const CHECK: &str = "volumes";
/// A generation takes some tens of KiB, and two old ones stay.
const FOR_MATERIAL: u64 = 1 << 20;
/// Some minutes of a busy day.
const FOR_AUDIT: u64 = 16 << 20;

/// Nothing where all is well.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let log = config.audit.file.parent().unwrap_or(Path::new("/"));
    let places = [(config.certs.dir.as_path(), FOR_MATERIAL), (log, FOR_AUDIT)];
    places.into_iter().filter_map(|(folder, needed)| look(folder, needed)).collect()
}

fn look(folder: &Path, needed: u64) -> Option<Finding> {
    let found = statvfs(folder).ok()?;
    judge(folder, found.flags().contains(FsFlags::ST_RDONLY), found.blocks_available() * found.fragment_size(), needed)
}

fn judge(folder: &Path, read_only: bool, free: u64, needed: u64) -> Option<Finding> {
    let at = folder.display();
    if read_only {
        let fix = "mount it writable for the server: without `:ro` there";
        return Some(Finding::bad(
            CHECK,
            format!("{at} is mounted read-only: nothing can be renewed or recorded"),
            fix,
        ));
    }
    (free < needed).then(|| {
        let detail = format!("{at} has {} KiB left, and {} KiB are wanted", free >> 10, needed >> 10);
        Finding::warning(CHECK, detail, "make room on its volume")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_full_volume_and_a_read_only_one_are_said_and_a_good_one_is_not() {
        let folder = Path::new("/etc/temporal/certs");
        let locked = judge(folder, true, u64::MAX, FOR_MATERIAL).unwrap();
        assert_eq!(locked.verdict, Verdict::Bad);
        assert_eq!(locked.detail, "/etc/temporal/certs is mounted read-only: nothing can be renewed or recorded");
        let full = judge(folder, false, 4096, FOR_MATERIAL).unwrap();
        assert_eq!(full.verdict, Verdict::Warning);
        assert_eq!(full.detail, "/etc/temporal/certs has 4 KiB left, and 1024 KiB are wanted");
        assert_eq!(judge(folder, false, FOR_MATERIAL, FOR_MATERIAL), None);
        assert_eq!(look(&std::env::temp_dir(), 0), None);
        assert_eq!(look(Path::new("/absent"), 0), None);
    }
}
