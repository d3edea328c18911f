//! What PID 1 opens for others while it still may: listening sockets, the runtime folder. (The audit file:
//! [`super::audit_log`].)

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt},
    unistd::{Gid, Uid, geteuid},
};

use crate::{
    audit,
    config::{Config, Database, EngineKind},
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
    /// The metrics, if configured.
    pub(super) metrics: Option<Arc<OwnedFd>>,
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
            metrics: config.gateway.metrics_listen.map(|a| door(a, "WARDEN_METRICS_LISTEN")).transpose()?,
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

/// Makes a folder. One that is there already is somebody else's, and may hold more than ours, as `/var/log` does: it is
/// opened to our readers where it has to be, and never closed to others.
fn folder(path: &Path, mode: u32, setting: &'static str) -> Result<(), DoorError> {
    let fail = |source| DoorError::Folder { path: path.to_owned(), setting, source };
    let was_there = path.exists();
    fs::create_dir_all(path).map_err(fail)?;
    let held = fs::metadata(path).map_err(fail)?.permissions().mode() & 0o7777;
    let wanted = if was_there { held | (mode & 0o055) } else { mode };
    if wanted == held {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(wanted)) {
        // Not ours to open: whoever needs it says so.
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

/// The folder of the audit log, and the file in it: root owns both; the gateway's group may look the file up, and
/// writes through the descriptor only.
pub(super) fn audit(config: &Config) -> Result<fs::File, DoorError> {
    let path = &config.audit.file;
    if let Some(parent) = path.parent() {
        folder(parent, 0o750, "WARDEN_AUDIT_FILE")?;
    }
    audit::open(path, audit_group(config)).map_err(|source| DoorError::Audit { path: path.clone(), source })
}

/// The group of audit files; only root can give them one.
pub(super) fn audit_group(config: &Config) -> Option<u32> {
    geteuid().is_root().then_some(config.gateway.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_is_never_closed_to_others_and_opened_to_our_readers_only() {
        let root = tempfile::tempdir().unwrap();
        let after = |name: &str, before: Option<u32>, mode: u32| {
            let path = root.path().join(name);
            if let Some(before) = before {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            }
            folder(&path, mode, "X").unwrap();
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777
        };
        assert_eq!(after("new", None, 0o750), 0o750);
        assert_eq!(after("log", Some(0o755), 0o750), 0o755);
        assert_eq!(after("tmp", Some(0o1777), 0o755), 0o1777);
        assert_eq!(after("closed", Some(0o700), 0o755), 0o755);
    }
}
