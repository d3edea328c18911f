//! The advisory lock of a volume: one writer, freed by the kernel when its holder dies.

use std::{
    fs::{File, TryLockError},
    time::{Duration, Instant},
};

use super::{Error, folder::Dir};

const NAME: &str = ".lock";
const RETRY: Duration = Duration::from_millis(20);

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    #[expect(dead_code, reason = "closing the descriptor releases the lock")]
    file: File,
    read_only: bool,
}

impl Lock {
    /// On a volume that can't be written the lock that is there is taken all the same: what lies beside it can be served.
    pub(super) fn acquire(dir: &Dir, timeout: Duration) -> Result<Self, Error> {
        let (file, read_only) = match dir.open_or_create(NAME, 0o600) {
            Err(error) if error.is_read_only() => (dir.open_read_only(NAME).map_err(|_| error)?, true),
            opened => (opened?, false),
        };
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file, read_only }),
                Err(TryLockError::WouldBlock) if start.elapsed() < timeout => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: dir.at(NAME), waited: timeout }),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Io { operation: "lock", path: dir.at(NAME), source });
                }
            }
        }
    }

    /// Whether the volume can't be written.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}
