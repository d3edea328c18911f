//! Published bundles: a folder that is a mount gets its own generations; any other is left alone.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use time::OffsetDateTime;

use super::{
    Error, Set,
    folder::{Dir, own_uid},
    generation::{Foreign, Generations},
    set::top,
};

/// Where file systems are mounted. Two volumes of one disk share a device number, so only the kernel's own list tells
/// a mount from a folder.
#[derive(Debug, Clone, Default)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// The mounts of this process.
    pub fn read() -> Result<Self, Error> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read(path);
        let text = text.map_err(|source| Error::Io { operation: "read", path: path.to_owned(), source })?;
        Ok(Self::parse(&text))
    }

    /// Reads the format of `/proc/PID/mountinfo`: the fifth field, with octal escapes.
    pub fn parse(mountinfo: &[u8]) -> Self {
        let fields = mountinfo.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
        Self(fields.map(unescape).collect())
    }

    /// Whether something is mounted exactly there.
    pub fn contains(&self, path: &Path) -> bool {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.0.contains(&real)
    }
}

fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Publishes one consumer's set in its folder when it differs from what is there; `None` = nothing to do.
///
/// The consumer may be root in its container and have the folder mounted writable: ownership is taken back, nothing
/// of its making is followed, and what stands at our names is replaced.
pub fn publish(path: &Path, set: &Set, now: OffsetDateTime) -> Result<Option<u64>, Error> {
    let dir = Dir::take(path)?;
    if dir.stat()?.st_mode & 0o7777 != 0o755 {
        dir.chmod(0o755)?;
    }
    let generations = Generations { dir, foreign: Foreign::Remove };
    let names: Vec<_> = set.keys().map(|path| top(path)).collect();
    match generations.snapshot(&names) {
        Ok(snapshot) if snapshot.flat.is_empty() && !snapshot.unproven && same(&snapshot, set) => {
            generations.repair(&snapshot, set, now)?;
            Ok(None)
        }
        // Whatever else is there, readable or not, a new generation replaces it.
        _ => generations.publish(set, now, &|_| Ok(())).map(Some),
    }
}

fn same(snapshot: &super::Snapshot, set: &Set) -> bool {
    snapshot.generation.is_some()
        && snapshot.files.len() == set.len()
        && set.iter().all(|(path, file)| {
            let group = |gid| own_uid() != 0 || gid == file.gid.unwrap_or(0);
            snapshot.files.get(path).is_some_and(|found| {
                found.bytes == file.bytes && found.mode == file.mode && found.uid == own_uid() && group(found.gid)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mount_point_itself_counts_and_escapes_are_read() {
        let text =
            b"1 2 0:1 / / rw - ext4 /dev/a rw\n3 1 0:1 /v /srv/with\\040space\\134x rw shared:1 - ext4 /dev/a rw\n";
        let mounts = Mounts::parse(text);
        assert!(mounts.contains(Path::new("/srv/with space\\x")));
        assert!(!mounts.contains(Path::new("/srv")));
        assert!(mounts.contains(Path::new("/")));
    }

    #[test]
    fn broken_lines_are_not_mounts() {
        assert!(Mounts::parse(b"\n\n1 2\nx").0.is_empty());
        assert_eq!(unescape(b"a\\04"), Path::new("a\\04"));
    }
}
