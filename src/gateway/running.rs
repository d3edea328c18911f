//! Calls under way at one worker, so that those of a token that is no longer good can be ended, and long polls at a stop.
//!
//! Each worker is one thread with a list of its own: a call enters and leaves it without meeting another thread, and
//! only a new version of the material looks through it.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    token: Option<Arc<Verified>>,
    /// A long poll: it does not hold up a stop.
    polls: bool,
    ended: OnceLock<String>,
    stopping: AtomicBool,
    waker: AtomicWaker,
}

/// Why a call that has no answer yet gets none.
pub(super) enum Over {
    /// Its token is no longer good; the message for the client.
    Ended(String),
    /// It is a long poll, and the gateway stops.
    Stopping,
}

/// A call's place in the list, left when it is dropped.
pub(super) struct Stay {
    running: Arc<Running>,
    key: usize,
    call: Arc<Call>,
}

impl Running {
    /// Enters a call that was decided by `decided`.
    pub(super) fn enter(
        self: &Arc<Self>,
        token: Option<Arc<Verified>>,
        polls: bool,
        decided: &Serving,
        shared: &Shared,
    ) -> Stay {
        let stopping = AtomicBool::new(polls && *shared.draining.borrow());
        let call = Arc::new(Call { token, polls, ended: OnceLock::new(), stopping, waker: AtomicWaker::new() });
        let key = self.lock().insert(call.clone());
        // What came into force since the decision looked through the list before this call was in it.
        let now = shared.serving.load();
        if now.edition != decided.edition {
            call.judge(&now);
        }
        Stay { running: self.clone(), key, call }
    }

    /// Ends the calls whose token `serving` no longer accepts; how many.
    pub(super) fn judge(&self, serving: &Serving) -> usize {
        self.lock().iter().filter(|(_, call)| call.judge(serving)).count()
    }

    /// Ends the long polls.
    fn stop(&self) {
        for (_, call) in self.lock().iter().filter(|(_, call)| call.polls) {
            call.stopping.store(true, Ordering::Relaxed);
            call.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Arc<Call>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Whether it was ended now.
    fn judge(&self, serving: &Serving) -> bool {
        let Some(Err(refusal)) = self.token.as_ref().map(|token| serving.still_accepts(token)) else { return false };
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

    /// Waits until the call is ended.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| self.poll_ended(cx).map(|_| ())).await;
    }

    /// Waits until the call is ended, or is a long poll and the gateway stops.
    pub(super) fn over(&self) -> impl Future<Output = Over> + use<> {
        let call = self.call.clone();
        poll_fn(move |cx| {
            call.waker.register(cx.waker());
            match call.ended.get() {
                Some(why) => Poll::Ready(Over::Ended(why.clone())),
                None if call.stopping.load(Ordering::Relaxed) => Poll::Ready(Over::Stopping),
                None => Poll::Pending,
            }
        })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.running.lock().try_remove(self.key);
    }
}

/// Looks through the worker's calls at each new version, and once at a stop, as long as the worker lives.
pub(super) async fn attend(running: Arc<Running>, shared: Arc<Shared>) {
    let (mut version, mut draining) = (shared.version.clone(), shared.draining.clone());
    let mut stopped = false;
    loop {
        tokio::select! {
            changed = version.changed() => {
                if changed.is_err() {
                    return;
                }
                let ended = running.judge(&shared.serving.load_full());
                if ended > 0 {
                    tracing::info!(ended, "open calls ended: their token is no longer accepted");
                }
            }
            told = draining.wait_for(|draining| *draining), if !stopped => {
                drop(told);
                stopped = true;
                running.stop();
            }
        }
    }
}
