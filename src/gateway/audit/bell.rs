//! Tells a worker which of its records are written. One wake for a whole batch: each wake from another thread is a system
//! call, and at 20,000 calls/s they would be most of what the audit log costs.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

/// One worker's.
#[derive(Default)]
pub(in crate::gateway) struct Bell {
    written: Mutex<Vec<oneshot::Sender<()>>>,
    rung: Notify,
}

/// Who waits for a record, and at which worker.
pub(super) struct Waiting {
    pub(super) call: oneshot::Sender<()>,
    pub(super) bell: Option<Arc<Bell>>,
}

impl Bell {
    /// Tells the worker's calls, on the worker's own thread, for ever.
    pub(in crate::gateway) async fn tell(self: Arc<Self>) {
        loop {
            self.rung.notified().await;
            let written = mem::take(&mut *self.lock());
            for call in written {
                // Whoever waited may be gone.
                let _ = call.send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells all of a batch.
pub(super) fn ring(batch: impl Iterator<Item = Waiting>) {
    let mut bells: Vec<Arc<Bell>> = Vec::new();
    for Waiting { call, bell } in batch {
        let Some(bell) = bell else {
            let _ = call.send(());
            continue;
        };
        bell.lock().push(call);
        if !bells.iter().any(|known| Arc::ptr_eq(known, &bell)) {
            bells.push(bell);
        }
    }
    bells.iter().for_each(|bell| bell.rung.notify_one());
}
