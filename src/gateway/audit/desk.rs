//! Who has the log: nobody, a worker for one `write()`, or the writer thread for as long as it takes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, time::Instant};

use super::log::Log;

/// Where the log lies while nobody writes.
pub(super) struct Desk {
    held: Mutex<Held>,
    free: Condvar,
    called: Notify,
}

struct Held {
    log: Option<Box<Log>>,
    /// The writer thread waits for it; workers let it go first.
    wanted: bool,
}

impl Desk {
    pub(super) fn new(log: Log) -> Self {
        let held = Held { log: Some(Box::new(log)), wanted: false };
        Self { held: Mutex::new(held), free: Condvar::new(), called: Notify::new() }
    }

    /// The log, unless it is in other hands, or in a state in which a worker should not wait for its file.
    pub(super) fn take_for_worker(&self) -> Option<Box<Log>> {
        let mut held = self.lock();
        let wanted = held.wanted;
        held.log.take_if(|log| !wanted && log.is_for_workers(Instant::now()))
    }

    /// The log, for the writer thread: at most one `write()` of a worker's is waited for.
    pub(super) fn take(&self) -> Box<Log> {
        let mut held = self.lock();
        loop {
            held.wanted = held.log.is_none();
            if let Some(log) = held.log.take() {
                return log;
            }
            held = self.free.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts it back.
    pub(super) fn put(&self, mut log: Box<Log>) {
        let calls = log.calls_the_writer();
        let wanted = {
            let mut held = self.lock();
            held.log = Some(log);
            held.wanted
        };
        if wanted {
            self.free.notify_one();
        }
        if calls {
            self.called.notify_one();
        }
    }

    /// Resolves when a worker left something to do.
    pub(super) async fn called(&self) {
        self.called.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
