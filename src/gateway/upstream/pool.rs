//! A worker's upstream connections: dialled on demand, grown by streams, replaced before Temporal's age limit.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::SendRequest;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::connector::{Connector, Driver, STREAMS};
use crate::backoff;

/// Connections of one worker at most; with all full a call is refused instead of queued unseen.
const CONNECTIONS: usize = 64;
/// Temporal ends a connection after 5 min ± 10 %; its successor is dialled before.
const AGE: Duration = Duration::from_secs(240);
/// Pause after the first failed dial.
const BACKOFF_BASE: Duration = Duration::from_millis(20);
/// Longest pause.
const BACKOFF_CAP: Duration = Duration::from_millis(500);

/// Why a call could not be given a stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in crate::gateway) enum Unreachable {
    /// No connection in time.
    #[error("the Temporal frontend cannot be reached: {0}")]
    Down(String),
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Closed,
    /// Every connection is full.
    #[error("{} calls are open at this worker", CONNECTIONS * STREAMS)]
    Full,
}

/// The connections.
#[derive(Default)]
pub(in crate::gateway) struct Pool {
    inner: Mutex<Inner>,
    changed: Notify,
    /// Dials that failed.
    pub dials_failed: AtomicU64,
}

#[derive(Default)]
struct Inner {
    connector: Option<Arc<Connector>>,
    connections: Vec<Arc<Connection>>,
    /// Of every connection that is not over, also those that left `connections`.
    drivers: Vec<Driver>,
    closed: bool,
    dialling: bool,
    failures: u32,
    last_error: String,
}

struct Connection {
    connector: Arc<Connector>,
    send: SendRequest<Bytes>,
    streams: AtomicUsize,
    born: Instant,
    ended: Arc<AtomicBool>,
}

/// One stream's place on a connection.
pub(in crate::gateway) struct Lease {
    /// Opens the stream.
    pub send: SendRequest<Bytes>,
    /// Made the connection.
    pub connector: Arc<Connector>,
    connection: Arc<Connection>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Pick {
    Stream(Lease),
    Wait,
    Full,
    Closed,
}

impl Pool {
    /// A place on a connection of `connector` or of a newer one, waiting until `deadline` for it.
    pub(in crate::gateway) async fn acquire(
        self: &Arc<Self>,
        connector: &Arc<Connector>,
        deadline: Instant,
    ) -> Result<Lease, Unreachable> {
        // Nearly always there is a place at once; only who has to wait asks to be told of changes, and holds what that takes.
        match self.pick(connector) {
            Pick::Wait => Box::pin(self.place(connector, deadline)).await,
            Pick::Stream(lease) => Ok(lease),
            Pick::Full => Err(Unreachable::Full),
            Pick::Closed => Err(Unreachable::Closed),
        }
    }

    async fn place(self: &Arc<Self>, connector: &Arc<Connector>, deadline: Instant) -> Result<Lease, Unreachable> {
        let mut picked = Pick::Wait;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            if matches!(picked, Pick::Wait) {
                changed.as_mut().enable();
                picked = self.pick(connector);
            }
            match picked {
                Pick::Stream(lease) => return Ok(lease),
                Pick::Full => return Err(Unreachable::Full),
                Pick::Closed => return Err(Unreachable::Closed),
                Pick::Wait => {}
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(Unreachable::Down(self.lock().last_error.clone()));
            }
            picked = self.pick(connector);
        }
    }

    fn pick(self: &Arc<Self>, connector: &Arc<Connector>) -> Pick {
        let mut inner = self.lock();
        if inner.closed {
            return Pick::Closed;
        }
        let newest = inner.serve(connector);
        let (found, young) = inner.find();
        if (found.is_none() || !young) && !inner.dialling {
            if found.is_none() && inner.connections.len() >= CONNECTIONS {
                return Pick::Full;
            }
            inner.dialling = true;
            // Who had none may dial a frontend that has just been started, or comes back.
            let started = inner.connections.is_empty();
            tokio::spawn(self.clone().dial(newest, inner.failures, started));
        }
        found.map_or(Pick::Wait, Pick::Stream)
    }

    async fn dial(self: Arc<Self>, connector: Arc<Connector>, failures: u32, started: bool) {
        if failures > 0 {
            sleep(backoff::delay(BACKOFF_BASE, BACKOFF_CAP, failures, 0.5)).await;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        let ends = move || flag.store(true, Ordering::Relaxed);
        let dialled = if started { connector.connect_to_started(ends).await } else { connector.connect(ends).await };
        self.dials_failed.fetch_add(u64::from(dialled.is_err()), Ordering::Relaxed);
        self.lock().dialled(&connector, dialled, ended);
        self.changed.notify_waiters();
    }

    /// Cuts every connection, and gives no stream any more: calls on them, and those that wait for one, end.
    pub(in crate::gateway) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.connections.clear();
        inner.drivers.drain(..).for_each(|driver| driver.cut());
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Open connections.
    pub(in crate::gateway) fn connections(&self) -> usize {
        self.lock().connections.iter().filter(|connection| !connection.ended.load(Ordering::Relaxed)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The newest connector known. Connections of those before finish what they carry; a call that was decided under
    /// older material never brings them back, or the two would dial for each other's eviction.
    fn serve(&mut self, connector: &Arc<Connector>) -> Arc<Connector> {
        let newest = match self.connector.take() {
            Some(held) if held.version >= connector.version => held,
            _ => {
                self.connections.clear();
                self.failures = 0;
                connector.clone()
            }
        };
        self.connector = Some(newest.clone());
        self.connections.retain(|connection| !connection.ended.load(Ordering::Relaxed));
        newest
    }

    /// A place on the least loaded connection, a young one where there is one, and whether it is young.
    fn find(&mut self) -> (Option<Lease>, bool) {
        let now = Instant::now();
        loop {
            let fits = self.connections.iter().filter(|connection| connection.has_room());
            let burden = |connection: &&Arc<Connection>| {
                (now - connection.born >= AGE, connection.streams.load(Ordering::Relaxed))
            };
            let Some(best) = fits.min_by_key(burden) else { return (None, false) };
            match best.lease() {
                Some(lease) => return (Some(lease), now - best.born < AGE),
                // It takes no more; its streams hold it until they have ended.
                None => {
                    let gone = best.clone();
                    self.connections.retain(|connection| !Arc::ptr_eq(connection, &gone));
                }
            }
        }
    }

    fn dialled(
        &mut self,
        connector: &Arc<Connector>,
        dialled: std::io::Result<(SendRequest<Bytes>, Driver)>,
        ended: Arc<AtomicBool>,
    ) {
        self.dialling = false;
        match dialled {
            Ok((_, driver)) if self.closed => driver.cut(),
            Ok((send, driver)) if self.connector.as_ref().is_some_and(|held| Arc::ptr_eq(held, connector)) => {
                let born = Instant::now();
                // Old ones finish what they carry; dropping our handle lets them close after that.
                self.connections.retain(|connection| born - connection.born < AGE);
                let (connector, streams) = (connector.clone(), AtomicUsize::new(0));
                self.drivers.retain(|driver| !driver.is_over());
                self.drivers.push(driver);
                self.connections.push(Arc::new(Connection { connector, send, streams, born, ended }));
                self.failures = 0;
            }
            Ok(_) => {}
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = error.to_string();
            }
        }
    }
}

impl Connection {
    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < STREAMS.min(self.send.current_max_send_streams())
    }

    /// A place; `None` when the connection takes no more (GOAWAY, closed).
    fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut send = self.send.clone();
        // Below the peer's limit of streams it is ready at once, or never again.
        let ready = std::future::poll_fn(|cx| send.poll_ready(cx)).now_or_never();
        if !matches!(ready, Some(Ok(()))) {
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        Some(Lease { send, connector: self.connector.clone(), connection: self.clone() })
    }
}
