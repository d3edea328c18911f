//! Bytes of answers that clients have not taken yet, so that a client that asks for much and reads nothing cannot fill
//! the gateway's memory.
//!
//! An answer lies at most at two places: what Temporal sent and nobody asked for yet (one stream's window), and what was
//! handed to the client's connection and not written (its send buffer). Each alone is bounded; thousands are not. So
//! each worker adds up what its clients leave, and over [`MOST`] the one that leaves the most has to go.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::FlowControl;
use slab::Slab;
use tokio::{sync::Notify, time::sleep};

use super::guest::{Farewell, Guest};

/// Bytes that the clients of one worker may leave unread together.
const MOST: usize = 64 << 20;
/// With fewer answers begun and fewer bytes handed over than this nothing is added up: that is the common case.
const FEW_ANSWERS: usize = 64;
/// See [`FEW_ANSWERS`].
const FEW_BYTES: usize = MOST / 8;
/// How often it is looked at while there are more.
const LOOK: Duration = Duration::from_millis(50);
/// Frames below this are not counted when they are handed over: no call has many of them.
const SMALL: usize = 1 << 10;

/// Of one worker.
#[derive(Default)]
pub(super) struct Unread {
    guests: Mutex<Slab<Weak<Guest>>>,
    /// Answers that have begun and not ended.
    answers: AtomicUsize,
    /// Bytes handed to connections and not written.
    handed: AtomicUsize,
    rung: Notify,
}

/// Of one connection.
pub(super) struct Account {
    worker: Arc<Unread>,
    /// Windows of its answers.
    answers: Mutex<Slab<FlowControl>>,
    handed: AtomicUsize,
}

/// A connection's place among those that are looked at.
pub(super) struct Known(Arc<Unread>, usize);

/// An answer under way.
pub(super) struct Answer {
    guest: Arc<Guest>,
    key: Option<usize>,
}

/// Bytes handed over; they count until nobody holds them any more.
struct Handed {
    data: Bytes,
    guest: Arc<Guest>,
}

impl Unread {
    /// Lets this connection be looked at, as long as the place is held.
    pub(super) fn knows(self: &Arc<Self>, guest: &Arc<Guest>) -> Known {
        Known(self.clone(), lock(&self.guests).insert(Arc::downgrade(guest)))
    }

    fn is_much(&self) -> bool {
        self.answers.load(Relaxed) > FEW_ANSWERS || self.handed.load(Relaxed) > FEW_BYTES
    }

    /// Shows out who leaves the most, until the others leave little enough.
    fn look(&self) {
        let guests: Vec<_> = lock(&self.guests).iter().filter_map(|(_, guest)| guest.upgrade()).collect();
        let mut left: Vec<_> = guests.iter().map(|guest| (guest.unread.bytes(), guest)).collect();
        left.retain(|(bytes, guest)| *bytes > 0 && guest.farewell().is_none());
        left.sort_by_key(|(bytes, _)| *bytes);
        let mut all: usize = left.iter().map(|(bytes, _)| bytes).sum();
        while all > MOST
            && let Some((bytes, guest)) = left.pop()
        {
            all -= bytes;
            guest.show_out(Farewell::UNREAD);
        }
    }
}

/// Looks after one worker's clients, as long as it lives.
pub(super) async fn attend(unread: Arc<Unread>) {
    loop {
        unread.rung.notified().await;
        while unread.is_much() {
            unread.look();
            sleep(LOOK).await;
        }
    }
}

impl Account {
    /// Nothing yet.
    pub(super) fn new(worker: Arc<Unread>) -> Self {
        Self { worker, answers: Mutex::default(), handed: AtomicUsize::new(0) }
    }

    /// Bytes that the client has not taken.
    fn bytes(&self) -> usize {
        let waiting: usize = lock(&self.answers).iter().map(|(_, window)| window.used_capacity()).sum();
        waiting + self.handed.load(Relaxed)
    }
}

impl Answer {
    /// An answer to `guest` begins, of which Temporal may send as much as this window has.
    pub(super) fn begins(guest: Arc<Guest>, window: &FlowControl) -> Self {
        let worker = &guest.unread.worker;
        let before = worker.answers.fetch_add(1, Relaxed);
        if before == FEW_ANSWERS {
            worker.rung.notify_one();
        }
        let key = (before >= FEW_ANSWERS).then(|| lock(&guest.unread.answers).insert(window.clone()));
        Self { guest, key }
    }

    /// The same data, counted until they were written or thrown away.
    pub(super) fn hands(&self, data: Bytes) -> Bytes {
        if data.len() < SMALL {
            return data;
        }
        let unread = &self.guest.unread;
        unread.handed.fetch_add(data.len(), Relaxed);
        let before = unread.worker.handed.fetch_add(data.len(), Relaxed);
        if before <= FEW_BYTES && before + data.len() > FEW_BYTES {
            unread.worker.rung.notify_one();
        }
        Bytes::from_owner(Handed { data, guest: self.guest.clone() })
    }
}

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.guest.unread.handed.fetch_sub(self.data.len(), Relaxed);
        self.guest.unread.worker.handed.fetch_sub(self.data.len(), Relaxed);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.guest.unread.worker.answers.fetch_sub(1, Relaxed);
        if let Some(key) = self.key {
            // The window is given back outside of the lock: it takes that of its connection.
            let window = lock(&self.guest.unread.answers).try_remove(key);
            drop(window);
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        lock(&self.0.guests).try_remove(self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
