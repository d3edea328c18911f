//! The audit log: one record per operation, its place reserved before anything is forwarded.
//!
//! A caller reserves a [`Slot`], serves, and hands the finished record over; its worker puts it into the chain and writes
//! all of one turn at once, or leaves that to the writer thread. An answer's trailers wait for [`Written`].

mod bell;
mod desk;
mod handover;
mod log;
mod record;
mod writer;

use std::{
    fs::File,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

pub(super) use bell::Bell;
pub(super) use handover::receive_files;
pub(super) use record::{Principal, Record};

use self::{bell::Waiting, desk::Desk, log::Log};
pub(super) use crate::audit::{id, timestamp};
use crate::{
    audit::Lines,
    config::{AuditFail, AuditSync},
};

/// Records that may wait for the writer at once.
const QUEUE: usize = 65_536;
/// How long a call waits for a slot.
const RESERVE: Duration = Duration::from_millis(50);

/// How the writer works.
pub(super) struct Settings {
    /// When lines are synced.
    pub sync: AuditSync,
    /// What happens to calls when they can't be written.
    pub fail: AuditFail,
    /// Copy to standard output.
    pub stdout: bool,
    /// Last number and hash in the file.
    pub last: Option<(u64, String)>,
}

/// What the writer is told.
enum Message {
    Record { json: Vec<u8>, written: Waiting },
    Close { done: oneshot::Sender<()> },
}

/// The next file, and where to say that lines go there now.
pub(super) struct NextFile {
    file: File,
    switched: oneshot::Sender<()>,
}

/// Takes records.
#[derive(Clone)]
pub(super) struct Recorder {
    queue: mpsc::Sender<Message>,
    files: mpsc::UnboundedSender<NextFile>,
    failing: watch::Receiver<Option<String>>,
    lost: Arc<AtomicU64>,
    fail: AuditFail,
    desk: Arc<Desk>,
    bell: Option<Arc<Bell>>,
}

/// The place of one record; dropped unused it is free again.
pub(super) struct Slot(Option<mpsc::OwnedPermit<Message>>, Option<Arc<Bell>>);

/// Resolves when the record's `write()` returned (or, served in spite of a failing log, at once).
pub(super) struct Written(Option<oneshot::Receiver<()>>);

/// The log can't take a record and calls are refused for it.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written ({0}); calls are refused until it can")]
pub(super) struct Failing(String);

impl Recorder {
    /// Starts the writer thread on `file`.
    pub(super) fn start(file: File, settings: Settings) -> io::Result<Self> {
        let (queue, records) = mpsc::channel(QUEUE);
        let (files, next_files) = mpsc::unbounded_channel();
        let (report, failing) = watch::channel(None);
        let (lost, fail) = (Arc::new(AtomicU64::new(0)), settings.fail);
        let desk = Arc::new(Desk::new(Log::new(Lines::new(file), settings, report, lost.clone())));
        let writer = writer::Writer::new(desk.clone(), next_files);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(records))?;
        Ok(Self { queue, files, failing, lost, fail, desk, bell: None })
    }

    /// For a worker, and what has to run on it: its calls' records are written there.
    pub(super) fn at_worker(&self) -> (Self, Arc<Bell>) {
        let bell = Arc::new(Bell::new(self.desk.clone()));
        (Self { bell: Some(bell.clone()), ..self.clone() }, bell)
    }

    /// A place for one record, or why there is none.
    pub(super) async fn reserve(&self) -> Result<Slot, Failing> {
        let reason = self.failing.borrow().clone();
        if let (Some(reason), AuditFail::Closed) = (reason, self.fail) {
            return Err(Failing(reason));
        }
        if let Ok(permit) = self.queue.clone().try_reserve_owned() {
            return Ok(self.slot(permit));
        }
        match (tokio::time::timeout(RESERVE, self.queue.clone().reserve_owned()).await, self.fail) {
            (Ok(Ok(permit)), _) => Ok(self.slot(permit)),
            (_, AuditFail::Open) => Ok(self.without_slot()),
            (_, AuditFail::Closed) => Err(Failing(format!("{QUEUE} records wait for the disk"))),
        }
    }

    /// A place for a record of something that happens whether it is recorded or not: `/health`, failed handshakes.
    pub(super) fn reserve_now(&self) -> Slot {
        self.queue.clone().try_reserve_owned().map_or_else(|_| self.without_slot(), |permit| self.slot(permit))
    }

    fn slot(&self, permit: mpsc::OwnedPermit<Message>) -> Slot {
        Slot(Some(permit), self.bell.clone())
    }

    fn without_slot(&self) -> Slot {
        self.lost.fetch_add(1, Ordering::Relaxed);
        Slot(None, None)
    }

    /// Lets the log go on in `file`, between two batches; resolves when it does.
    pub(super) fn switch(&self, file: File) -> oneshot::Receiver<()> {
        let (switched, done) = oneshot::channel();
        // A writer that has ended needs no file; the receiver then says so.
        let _ = self.files.send(NextFile { file, switched });
        done
    }

    /// Why records can't be written just now; changes are seen through [`watch::Receiver::changed`].
    pub(super) fn failing(&self) -> watch::Receiver<Option<String>> {
        self.failing.clone()
    }

    /// Operations served or refused without a record since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Places in the queue that are taken: by calls in flight, and by records that wait for the disk.
    pub(super) fn taken(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Writes and syncs what is queued.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Slot {
    /// Hands the record over.
    pub(super) fn record(self, record: &Record) -> Written {
        let Some(permit) = self.0 else { return Written(None) };
        if let Some(bell) = self.1 {
            return Written(Some(bell.hand(record.to_json(), permit)));
        }
        let (call, receiver) = oneshot::channel();
        permit.send(Message::Record { json: record.to_json(), written: Waiting { call, bell: None } });
        Written(Some(receiver))
    }
}

impl Future for Written {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            None => Poll::Ready(()),
            // A dropped sender means: lost in `open` mode, and counted there.
            Some(receiver) => Pin::new(receiver).poll(cx).map(|_| ()),
        }
    }
}
