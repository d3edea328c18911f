//! What PID 1 opens for others while it still may: listening sockets, the audit file, the runtime folder.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt},
    unistd::{Gid, Uid, fchown, geteuid},
};

use tracing::warn;

use crate::{
    config::{Config, Database, EngineKind},
    gateway::last_audit_link,
};

/// Connections that wait while the gateway restarts (contract §9); the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Descriptors that outlive every gateway process.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    /// Port 7233.
    pub(super) listen: Arc<OwnedFd>,
    /// The plaintext door, if configured.
    pub(super) plaintext: Option<Arc<OwnedFd>>,
    /// The audit file, `O_APPEND`.
    pub(super) audit: Arc<OwnedFd>,
}

/// A door that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Listening failed.
    #[error("failed to listen on {address}: {source}; set {setting} to a free address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        setting: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("failed to make the folder {}: {source}; mount a writable volume there or set {setting}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// The audit file cannot be opened.
    #[error("failed to open the audit log {}: {source}; mount a writable volume there or set WARDEN_AUDIT_FILE", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

impl Doors {
    /// Opens everything; nothing is served before the gateway runs.
    pub(super) fn open(config: &Config) -> Result<Self, DoorError> {
        let plaintext = config.gateway.plaintext_listen;
        Ok(Self {
            listen: door(config.gateway.listen, "WARDEN_LISTEN")?,
            plaintext: plaintext.map(|a| door(a, "WARDEN_PLAINTEXT_LISTEN")).transpose()?,
            audit: Arc::new(audit(config)?),
        })
    }
}

/// Makes the runtime folder: world-readable, for Temporal reads its configuration and the internal JWKS there.
pub(super) fn runtime_dir(path: &Path) -> Result<(), DoorError> {
    folder(path, 0o755, "WARDEN_RUNTIME_DIR")
}

/// Makes the folder of the engine's own files and gives it to the engine's user.
pub(super) fn data_dir(config: &Config) -> Result<(), DoorError> {
    let (path, setting) = (&config.temporal.data_dir, "WARDEN_DATA_DIR");
    let needed = config.engine == EngineKind::Dev || matches!(config.temporal.database, Database::Sqlite);
    if config.engine == EngineKind::External || !needed {
        return Ok(());
    }
    folder(path, 0o750, setting)?;
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(config.temporal.uid), Gid::from_raw(config.temporal.uid));
        let fail = |e: nix::Error| DoorError::Folder { path: path.clone(), setting, source: e.into() };
        nix::unistd::chown(path, Some(uid), Some(gid)).map_err(fail)?;
    }
    Ok(())
}

fn folder(path: &Path, mode: u32, setting: &'static str) -> Result<(), DoorError> {
    let fail = |source| DoorError::Folder { path: path.to_owned(), setting, source };
    fs::create_dir_all(path).map_err(fail)?;
    match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        // A folder of somebody else's that is already open enough is their choice.
        Err(source) if source.kind() != io::ErrorKind::PermissionDenied => Err(fail(source)),
        _ => Ok(()),
    }
}

fn door(address: SocketAddr, setting: &'static str) -> Result<Arc<OwnedFd>, DoorError> {
    listening(address).map(Arc::new).map_err(|source| DoorError::Listen { address, setting, source })
}

fn listening(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    match address {
        SocketAddr::V4(v4) => bind(socket.as_raw_fd(), &SockaddrIn::from(v4))?,
        SocketAddr::V6(v6) => bind(socket.as_raw_fd(), &SockaddrIn6::from(v6))?,
    }
    // rustix, for nix refuses more than 511 where libc's SOMAXCONN is 128 (musl).
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A full disk may have cut the last line: the next record starts on a line of its own, so that only one is damaged.
fn end_torn_line(mut file: &fs::File, path: &Path) -> io::Result<()> {
    let mut last = [b'\n'];
    let mut reader = fs::File::open(path)?;
    if reader.metadata()?.len() > 0 {
        reader.seek(SeekFrom::End(-1))?;
        reader.read_exact(&mut last)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

/// How much of the audit file's end is looked at for its last record; one is some kilobytes at most.
const AUDIT_TAIL: u64 = 1 << 20;

/// Where the gateway's hash chain stands; `None` starts a new one, and says so where a file was there.
pub(super) fn end_of_audit(path: &Path) -> Option<(u64, String)> {
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(AUDIT_TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(tail)
    };
    match tail() {
        Ok(tail) if tail.is_empty() => None,
        Ok(tail) => last_audit_link(&tail).or_else(|| {
            warn!("{}: no whole record at its end; the audit chain starts anew", path.display());
            None
        }),
        Err(cause) => {
            warn!("{}: cannot be read ({cause}); the audit chain starts anew", path.display());
            None
        }
    }
}

/// Root owns folder and file; the gateway's group may look the file up, and writes through the descriptor only.
fn audit(config: &Config) -> Result<OwnedFd, DoorError> {
    let path = &config.audit.file;
    let fail = |source| DoorError::Audit { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        folder(parent, 0o750, "WARDEN_AUDIT_FILE")?;
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path);
    let file = file.map_err(fail)?;
    file.set_permissions(fs::Permissions::from_mode(0o640)).map_err(fail)?;
    end_torn_line(&file, path).map_err(fail)?;
    if geteuid().is_root() {
        let group = Gid::from_raw(config.gateway.uid);
        fchown(&file, None, Some(group)).map_err(|e| fail(e.into()))?;
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_ended_and_a_whole_one_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for (before, after) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"se", "{}\n{\"se\n")] {
            fs::write(&path, before).unwrap();
            let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            end_torn_line(&file, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
