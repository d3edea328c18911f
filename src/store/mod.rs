//! Certificate files on disk: atomic generations, one lock, published bundles. Knows files, not what is in them.

mod bundle;
mod folder;
mod generation;
mod healthy;
mod lock;
mod note;
mod set;
mod sweep;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use bundle::{Mounts, publish as publish_bundle};
pub use folder::own_uid;
pub use generation::{Foreign, Generations, Step};
pub use lock::Lock;
pub use note::{read_note, write_note};
pub use set::{File, Found, Set, Snapshot};

/// What can go wrong with the folders of certificates. Every message names the path and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an operation.
    #[error("failed to {operation} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another writer kept the lock.
    #[error(
        "another warden has held {} for {waited:?}; wait for it, or raise WARDEN_LOCK_TIMEOUT", path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// Something in the folder that the warden did not put there and will not follow or overwrite.
    #[error("{} {what}; {fix}", path.display())]
    Foreign {
        /// What it is about.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The link that says which generation is live is gone, and the generations are not.
    #[error(
        "{} is missing although {what} is there: `ln -s {newest} {}` brings the last set back, an empty folder starts over \
         with a new CA", path.display(), path.display()
    )]
    Unlinked {
        /// Where the link should be.
        path: PathBuf,
        /// What shows that there was one.
        what: String,
        /// The youngest generation, which it most likely named.
        newest: String,
    },
    /// The staged set did not pass its check: nothing was published.
    #[error("{} was staged but does not pass its check, so it was not published: {reason}", path.display())]
    Rejected {
        /// The staged generation.
        path: PathBuf,
        /// The check's words.
        reason: String,
    },
    /// An observer asked to stop between two steps (tests of crashes).
    #[error("stopped before {0:?}")]
    Stopped(Step),
}

impl Error {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(nix::Error) -> Self {
        let path = path.to_owned();
        move |errno| Self::Io { operation, path, source: errno.into() }
    }

    /// What a change of a folder on a read-only volume comes to.
    pub fn read_only(folder: &Path) -> Self {
        Self::io("change the folder", folder)(nix::Error::EROFS)
    }

    /// The volume can't be written.
    fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(libc::EROFS))
    }

    /// The volume, not what is on it, is the reason: full, broken, or not writable.
    pub fn is_of_the_volume(&self) -> bool {
        const REASONS: [i32; 4] = [libc::EROFS, libc::ENOSPC, libc::EDQUOT, libc::EIO];
        matches!(self, Self::Io { source, .. } if source.raw_os_error().is_some_and(|code| REASONS.contains(&code)))
    }

    fn foreign(path: &Path, what: impl Into<String>) -> Self {
        Self::foreign_but(path, what, "move it away and start again")
    }

    /// With something else to do than to move it away.
    fn foreign_but(path: &Path, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Foreign { path: path.to_owned(), what: what.into(), fix: fix.into() }
    }
}

/// What to do about the errors a volume usually has.
fn advice(source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::EROFS) => "; the volume is mounted read-only: mount it writable for the server".to_owned(),
        Some(libc::ENOSPC | libc::EDQUOT) => "; free space on the volume, what was published before is unchanged".to_owned(),
        Some(libc::EACCES | libc::EPERM) => match own_uid() {
            0 => "; it must belong to root and its mode must let its owner in, and the process needs the capability CHOWN"
                .to_owned(),
            uid => format!("; run this as root, or give the folder to uid {uid} where the whole warden runs as that user"),
        },
        Some(libc::ELOOP) => "; it is a link the warden did not make and does not follow: move it away".to_owned(),
        Some(libc::ENOTDIR) => "; a folder must be there".to_owned(),
        Some(libc::EISDIR) => "; a folder is in its place: move it away".to_owned(),
        _ => String::new(),
    }
}
