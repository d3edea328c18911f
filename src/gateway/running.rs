//! Calls under way at one worker, so that those of a token that is no longer good can be ended.
//!
//! Each worker is one thread with a list of its own: a call enters and leaves it without meeting another thread, and
//! only a new version of the material looks through it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use slab::Slab;

use super::serving::{Serving, Shared};
use crate::tokens::Verified;

/// The calls of one worker.
#[derive(Default)]
pub(super) struct Running {
    calls: Mutex<Slab<Arc<Call>>>,
}

struct Call {
    token: Arc<Verified>,
    ended: OnceLock<String>,
    waker: AtomicWaker,
}

/// A call's place in the list, left when it is dropped.
pub(super) struct Stay {
    running: Arc<Running>,
    key: usize,
    call: Arc<Call>,
}

impl Running {
    /// Enters a call that was decided by `decided`.
    pub(super) fn enter(self: &Arc<Self>, token: Arc<Verified>, decided: &Serving, shared: &Shared) -> Stay {
        let call = Arc::new(Call { token, ended: OnceLock::new(), waker: AtomicWaker::new() });
        let key = self.lock().insert(call.clone());
        // What came into force since the decision looked through the list before this call was in it.
        let now = shared.serving.load();
        if now.version != decided.version {
            call.judge(&now);
        }
        Stay { running: self.clone(), key, call }
    }

    /// Ends the calls whose token `serving` no longer accepts; how many.
    pub(super) fn judge(&self, serving: &Serving) -> usize {
        self.lock().iter().filter(|(_, call)| call.judge(serving)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Arc<Call>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Whether it was ended now.
    fn judge(&self, serving: &Serving) -> bool {
        let Err(refusal) = serving.still_accepts(&self.token) else { return false };
        let first = self.ended.set(refusal.to_string()).is_ok();
        self.waker.wake();
        first
    }
}

impl Stay {
    /// Why the call was ended; one look at memory of this thread.
    pub(super) fn is_ended(&self) -> Option<&str> {
        self.call.ended.get().map(String::as_str)
    }

    /// Ready when the call was ended, with the message for the client.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<&str> {
        self.call.waker.register(cx.waker());
        self.is_ended().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until the call is ended, with the message for the client.
    pub(super) fn ended(&self) -> impl Future<Output = String> + use<> {
        let call = self.call.clone();
        poll_fn(move |cx| {
            call.waker.register(cx.waker());
            call.ended.get().cloned().map_or(Poll::Pending, Poll::Ready)
        })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.running.lock().try_remove(self.key);
    }
}

/// Looks through the worker's calls at each new version, as long as the worker lives.
pub(super) async fn attend(running: Arc<Running>, shared: Arc<Shared>) {
    let mut version = shared.version.clone();
    while version.changed().await.is_ok() {
        let ended = running.judge(&shared.serving.load_full());
        if ended > 0 {
            tracing::info!(ended, "open calls ended: their token is no longer accepted");
        }
    }
}
