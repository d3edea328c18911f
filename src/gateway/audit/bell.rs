//! A worker's side of the audit log: what its calls handed over in this turn of its loop, and who of them may go on.
//!
//! A worker writes its own records, all of one turn in one `write()`: so a call's answer waits for no other thread, and
//! nobody has to be woken, each wake from another thread being a system call. What the worker can't write at once, for the
//! log is in other hands, slow or failing, goes to the writer thread, which tells the worker once for a whole batch.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{
        Notify,
        mpsc::OwnedPermit,
        oneshot::{self, Sender},
    },
    task::yield_now,
};

use super::{Message, desk::Desk};

/// One worker's.
pub(in crate::gateway) struct Bell {
    desk: Arc<Desk>,
    turn: Mutex<Vec<Handed>>,
    written: Mutex<Vec<Sender<()>>>,
    rung: Notify,
}

/// One record with its place in the queue of the writer thread.
struct Handed {
    json: Vec<u8>,
    call: Sender<()>,
    permit: OwnedPermit<Message>,
}

/// Who waits for a record, and at which worker.
pub(super) struct Waiting {
    pub(super) call: Sender<()>,
    pub(super) bell: Option<Arc<Bell>>,
}

impl Bell {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk, turn: Mutex::default(), written: Mutex::default(), rung: Notify::new() }
    }

    /// Takes a record of this worker's; it is written when the calls that are ready now had their turn.
    pub(super) fn hand(&self, json: Vec<u8>, permit: OwnedPermit<Message>) -> oneshot::Receiver<()> {
        let (call, written) = oneshot::channel();
        lock(&self.turn).push(Handed { json, call, permit });
        self.rung.notify_one();
        written
    }

    /// Writes and tells the worker's calls, on the worker's own thread, for ever.
    pub(in crate::gateway) async fn tell(self: Arc<Self>) {
        loop {
            self.rung.notified().await;
            tell(mem::take(&mut *lock(&self.written)));
            self.write().await;
        }
    }

    async fn write(self: &Arc<Self>) {
        if !self.write_now() {
            // Another worker is at it for some microseconds; there is other work meanwhile.
            yield_now().await;
            if !self.write_now() {
                self.queue();
            }
        }
    }

    /// False when the log can't be had now.
    fn write_now(&self) -> bool {
        let mut turn = lock(&self.turn);
        if turn.is_empty() {
            return true;
        }
        let Some(mut log) = self.desk.take_for_worker() else { return false };
        let handed = mem::take(&mut *turn);
        drop(turn);
        let records = handed.iter().map(|handed| handed.json.as_slice());
        if let Some(rest) = log.write_at_once(records) {
            let waiting = handed.into_iter().map(|handed| Waiting { call: handed.call, bell: None });
            log.leave(rest, waiting.collect());
        } else {
            tell(handed.into_iter().map(|handed| handed.call));
        }
        self.desk.put(log);
        true
    }

    /// Leaves what was handed over to the writer thread: for a while, or, at the end of the worker, for good.
    pub(in crate::gateway) fn queue(self: &Arc<Self>) {
        for Handed { json, call, permit } in mem::take(&mut *lock(&self.turn)) {
            permit.send(Message::Record { json, written: Waiting { call, bell: Some(self.clone()) } });
        }
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets calls go on; whoever waited may be gone.
fn tell(written: impl IntoIterator<Item = Sender<()>>) {
    for call in written {
        let _ = call.send(());
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
        lock(&bell.written).push(call);
        if !bells.iter().any(|known| Arc::ptr_eq(known, &bell)) {
            bells.push(bell);
        }
    }
    bells.iter().for_each(|bell| bell.rung.notify_one());
}
