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
pub struct Lock(#[expect(dead_code, reason = "closing the descriptor releases the lock")] File);

impl Lock {
    pub(super) fn acquire(dir: &Dir, timeout: Duration) -> Result<Self, Error> {
        let file = dir.open_or_create(NAME, 0o600)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if start.elapsed() < timeout => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: dir.at(NAME), waited: timeout }),
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Io { operation: "lock", path: dir.at(NAME), source });
                }
            }
        }
    }
}
