//! A directory by descriptor: nothing here follows a link, whoever else may write there.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir as Listing,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, readlinkat, renameat},
    sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, fsync, geteuid, symlinkat, unlinkat},
};
use zeroize::Zeroizing;

use super::Error;

/// Largest file read: material is a few KiB, a planted one may be anything.
const MAX_FILE: u64 = 1 << 20;
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The user every file must belong to.
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// What a name is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Missing,
    Link(String),
    File,
    Directory,
    Other,
}

/// An open directory and the path it was reached by, for messages.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let fd = open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open the folder", path))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a folder another container may have given to itself: root takes it back first.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let fd = open(path, DIRECTORY | OFlag::O_PATH, Mode::empty()).map_err(Error::io("open the folder", path))?;
        Self::reopen(fd, path.to_owned())
    }

    fn reopen(fd: OwnedFd, path: PathBuf) -> Result<Self, Error> {
        let stat = fstat(&fd).map_err(Error::io("inspect", &path))?;
        if geteuid().is_root() && stat.st_uid != 0 {
            let (uid, flags) = (Some(Uid::from_raw(0)), AtFlags::AT_EMPTY_PATH);
            fchownat(&fd, c"", uid, None, flags).map_err(Error::io("take back ownership of", &path))?;
        }
        if stat.st_mode & 0o700 != 0o700 {
            chmod(&fd, stat.st_mode | 0o700).map_err(Error::io("set the mode of", &path))?;
        }
        let fd = openat(&fd, c".", DIRECTORY, Mode::empty()).map_err(Error::io("open the folder", &path))?;
        Ok(Self { fd, path })
    }

    pub(super) fn sub(&self, name: &str) -> Result<Self, Error> {
        let fd = openat(&self.fd, name, DIRECTORY, Mode::empty());
        Ok(Self { fd: fd.map_err(Error::io("open the folder", &self.at(name)))?, path: self.at(name) })
    }

    pub(super) fn make_sub(&self, name: &str, mode: u32) -> Result<Self, Error> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode))
            .map_err(Error::io("create the folder", &self.at(name)))?;
        self.sub(name)
    }

    /// Its own path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of an entry, for messages.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn stat(&self) -> Result<FileStat, Error> {
        fstat(&self.fd).map_err(Error::io("inspect", &self.path))
    }

    pub(super) fn chmod(&self, mode: u32) -> Result<(), Error> {
        fchmod(&self.fd, Mode::from_bits_truncate(mode)).map_err(Error::io("set the mode of", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        fsync(self.fd.as_fd()).map_err(Error::io("sync", &self.path))
    }

    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        let failed = || Error::io("list", &self.path);
        let mut listing = Listing::openat(&self.fd, c".", DIRECTORY, Mode::empty()).map_err(failed())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(failed())?;
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    pub(super) fn entry(&self, name: &str) -> Result<Entry, Error> {
        let stat = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(Entry::Missing),
            Err(errno) => return Err(Error::io("inspect", &self.at(name))(errno)),
        };
        Ok(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFLNK => {
                let target = readlinkat(&self.fd, name).map_err(Error::io("read the link", &self.at(name)))?;
                Entry::Link(target.to_string_lossy().into_owned())
            }
            SFlag::S_IFREG => Entry::File,
            SFlag::S_IFDIR => Entry::Directory,
            _ => Entry::Other,
        })
    }

    /// Content and attributes of a regular file. A planted pipe or device neither blocks nor is read.
    pub(super) fn read(&self, name: &str) -> Result<(Zeroizing<Vec<u8>>, FileStat), Error> {
        let path = self.at(name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(Error::io("read", &path))?;
        let stat = fstat(&fd).map_err(Error::io("inspect", &path))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(Error::foreign(&path, "is not a regular file"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 16)));
        let read = File::from(fd).take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Io { operation: "read", path: path.clone(), source })?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::foreign(&path, "is larger than 1 MiB"));
        }
        Ok((bytes, stat))
    }

    /// Creates a file that must not exist, with its final owner and mode, synced.
    pub(super) fn write_new(&self, name: &str, file: &super::File) -> Result<(), Error> {
        let path = self.at(name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(Error::io("create", &path))?;
        let mut handle = File::from(fd);
        let io = |operation, source| Error::Io { operation, path: path.clone(), source };
        handle.write_all(&file.bytes).map_err(|e| io("write", e))?;
        give(&handle, file.gid).map_err(Error::io("set the group of", &path))?;
        fchmod(&handle, Mode::from_bits_truncate(file.mode)).map_err(Error::io("set the mode of", &path))?;
        handle.sync_all().map_err(|e| io("sync", e))
    }

    /// Sets group and mode of a file that is there.
    pub(super) fn adjust(&self, name: &str, mode: u32, gid: Option<u32>) -> Result<(), Error> {
        let path = self.at(name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(Error::io("open", &path))?;
        give(&fd, gid).map_err(Error::io("set the group of", &path))?;
        fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(Error::io("set the mode of", &path))
    }

    /// Opens what its mode keeps from us although it is ours; the mode it had, or `None` when nothing had to be done. PID 1
    /// has no `DAC_OVERRIDE`, so not even root reads what root's own mode forbids.
    pub(super) fn open_up(&self, name: &str) -> Result<Option<u32>, Error> {
        let path = self.at(name);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            opened => opened.map_err(Error::io("open", &path))?,
        };
        let stat = fstat(&fd).map_err(Error::io("inspect", &path))?;
        let needed = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => 0o400,
            SFlag::S_IFDIR => 0o700,
            _ => return Ok(None),
        };
        if stat.st_uid != own_uid() || stat.st_mode & needed == needed {
            return Ok(None);
        }
        chmod(&fd, stat.st_mode | needed).map_err(Error::io("set the mode of", &path))?;
        Ok(Some(stat.st_mode & 0o7777))
    }

    pub(super) fn open_or_create(&self, name: &str, mode: u32) -> Result<File, Error> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::from_bits_truncate(mode));
        fd.map(File::from).map_err(Error::io("open", &self.at(name)))
    }

    /// A file that is there, for a lock on it alone.
    pub(super) fn open_read_only(&self, name: &str) -> Result<File, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty());
        fd.map(File::from).map_err(Error::io("open", &self.at(name)))
    }

    pub(super) fn link(&self, target: &str, name: &str) -> Result<(), Error> {
        symlinkat(target, &self.fd, name).map_err(Error::io("create the link", &self.at(name)))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.fd, from, &self.fd, to).map_err(Error::io("replace", &self.at(to)))
    }

    /// Removes whatever `name` is, folders up to `depth` levels deep; nothing when it is missing.
    pub(super) fn remove(&self, name: &str, depth: u8) -> Result<(), Error> {
        let path = self.at(name);
        let flag = match self.entry(name)? {
            Entry::Missing => return Ok(()),
            Entry::Directory if depth == 0 => {
                return Err(Error::foreign(&path, "is a folder nested too deep to remove"));
            }
            Entry::Directory => {
                let fd = openat(&self.fd, name, DIRECTORY | OFlag::O_PATH, Mode::empty());
                let sub = Self::reopen(fd.map_err(Error::io("open the folder", &path))?, path.clone())?;
                for inner in sub.names()? {
                    sub.remove(&inner, depth - 1)?;
                }
                UnlinkatFlags::RemoveDir
            }
            _ => UnlinkatFlags::NoRemoveDir,
        };
        unlinkat(&self.fd, name, flag).map_err(Error::io("remove", &path))
    }
}

/// Sets the mode of what an `O_PATH` descriptor holds, which `fchmod` refuses to.
fn chmod(fd: &OwnedFd, mode: u32) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fchmodat(AT_FDCWD, path.as_str(), Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
}

/// Only root gives files to a group; anyone else keeps what the kernel chose.
fn give(fd: impl std::os::fd::AsFd, gid: Option<u32>) -> Result<(), Errno> {
    let root = geteuid().is_root();
    if root { fchown(fd, None, Some(Gid::from_raw(gid.unwrap_or(0)))) } else { Ok(()) }
}
