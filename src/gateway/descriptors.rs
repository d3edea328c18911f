//! The descriptors PID 1 left open for this process, taken over once.

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::fd::{OwnedFd, RawFd},
    os::unix::net::UnixStream,
};

use super::link::{AUDIT_FD, AUDIT_FILES_FD, LINK_FD, LISTEN_FD, METRICS_FD, PLAINTEXT_FD};
use crate::supervisor::inherited;

/// What PID 1 handed over.
pub(super) struct Descriptors {
    /// The socket pair to PID 1.
    pub link: UnixStream,
    /// The listening socket of port 7233.
    pub listen: TcpListener,
    /// The audit file.
    pub audit: File,
    /// Where the next audit files come from, if they do.
    pub audit_files: Option<OwnedFd>,
    /// The plaintext listener, if there is one.
    pub plaintext: Option<TcpListener>,
    /// The metrics' listener, if there is one.
    pub metrics: Option<TcpListener>,
}

impl Descriptors {
    /// Takes all of them. To be called once, first thing in the process.
    pub(super) fn take() -> io::Result<Self> {
        let (plaintext, metrics, audit_files) =
            (inherited(PLAINTEXT_FD), inherited(METRICS_FD), inherited(AUDIT_FILES_FD));
        Ok(Self {
            link: own(LINK_FD)?.into(),
            listen: own(LISTEN_FD)?.into(),
            audit: own(AUDIT_FD)?.into(),
            audit_files,
            plaintext: plaintext.map(Into::into),
            metrics: metrics.map(Into::into),
        })
    }
}

fn own(number: RawFd) -> io::Result<OwnedFd> {
    inherited(number).ok_or_else(|| {
        let what =
            format!("descriptor {number} is not open: the gateway is started by `temporal-warden run`, not by hand");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}
