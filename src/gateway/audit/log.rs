//! The log as whoever has it just now writes it: the file, the chain, and what was not brought to the disk yet.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{Message, NextFile, Settings, bell::Waiting};
use crate::{
    audit::{Chain, Lines},
    config::{AuditFail, AuditSync},
};

/// Longest time lines stay unsynced with `WARDEN_AUDIT_SYNC=batch`.
const SYNC: Duration = Duration::from_millis(100);
/// A `write()` of a worker's that took longer is left to the writer thread for a while: a worker has more to do.
const SLOW: Duration = Duration::from_millis(5);
/// How long.
const WHILE: Duration = Duration::from_secs(1);
/// Batches that may wait for standard output; more are left out of the copy.
const COPIES: usize = 64;

/// The log.
pub(super) struct Log {
    pub(super) lines: Lines,
    chain: Chain,
    pub(super) sync: AuditSync,
    pub(super) fail: AuditFail,
    report: watch::Sender<Option<String>>,
    lost: Arc<AtomicU64>,
    copy: Option<SyncSender<Vec<u8>>>,
    pub(super) unsynced: Option<Instant>,
    /// What a worker could not write; the first of the writer thread's next round.
    left: Round,
    slow_until: Option<Instant>,
    /// There is something to do for the writer thread.
    calls: bool,
}

/// One round: lines, who waits for them, and whether it is the last.
#[derive(Default)]
pub(super) struct Round {
    pub(super) lines: Vec<u8>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) close: Option<oneshot::Sender<()>>,
}

impl Log {
    pub(super) fn new(
        lines: Lines,
        settings: Settings,
        report: watch::Sender<Option<String>>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let (chain, copy) = (Chain::after(settings.last), settings.stdout.then(copy_to_stdout).flatten());
        let (sync, fail) = (settings.sync, settings.fail);
        let (unsynced, slow_until, left, calls) = (None, None, Round::default(), false);
        Self { lines, chain, sync, fail, report, lost, copy, unsynced, left, slow_until, calls }
    }

    /// Whether a worker may write: to a file, not to a pipe whose reader may have stopped, and only while that works.
    pub(super) fn is_for_workers(&self, now: Instant) -> bool {
        self.lines.is_file()
            && self.sync == AuditSync::Batch
            && self.left.lines.is_empty()
            && self.slow_until.is_none_or(|until| now >= until)
            && self.report.borrow().is_none()
    }

    /// A worker's one `write()`; what is not on record after it, if anything.
    pub(super) fn write_at_once<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
        let mut lines = Vec::with_capacity(records.size_hint().0 * 1024);
        records.for_each(|record| self.chain.append(record, &mut lines));
        let start = Instant::now();
        // An error is told by the next try, which is the writer thread's.
        let written = self.lines.write(&lines).unwrap_or_default();
        let end = Instant::now();
        self.slow_until = (end - start > SLOW).then_some(end + WHILE);
        self.calls |= self.unsynced.is_none();
        self.unsynced.get_or_insert(start);
        if written < lines.len() {
            self.copied(lines[..written].to_vec());
            return Some(lines.split_off(written));
        }
        self.copied(lines);
        None
    }

    /// Leaves lines in the chain to the writer thread, with all who wait for them.
    pub(super) fn leave(&mut self, lines: Vec<u8>, waiting: Vec<Waiting>) {
        (self.left, self.calls) = (Round { lines, waiting, close: None }, true);
    }

    /// Whether the writer thread has to be told that there is something to do; once.
    pub(super) fn calls_the_writer(&mut self) -> bool {
        mem::take(&mut self.calls)
    }

    /// The next round: what was left, then `batch`.
    pub(super) fn chained(&mut self, batch: Vec<Message>) -> Round {
        let mut round = mem::take(&mut self.left);
        for message in batch {
            match message {
                Message::Record { json, written } => {
                    self.chain.append(&json, &mut round.lines);
                    round.waiting.push(written);
                }
                Message::Close { done } => round.close = Some(done),
            }
        }
        round
    }

    /// Lines go to the next file from here on; those before are brought to the disk first.
    pub(super) fn switch(&mut self, next: NextFile) {
        if let Err(error) = self.lines.sync() {
            self.failed("sync", &error);
        }
        self.lines = Lines::new(next.file);
        (self.unsynced, self.slow_until) = (None, None);
        // PID 1 may have stopped waiting for the answer.
        let _ = next.switched.send(());
    }

    /// When lines must be synced; `None` while all are.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + SYNC)
    }

    /// Served without record from byte `done` on: the gap stays visible in the numbers. The next batch is the next try.
    pub(super) fn give_up(&self, round: &mut Round, done: usize) {
        let lost = round.lines[done..].iter().filter(|b| **b == b'\n').count();
        self.lost.fetch_add(lost as u64, Ordering::Relaxed);
        round.waiting.clear();
    }

    pub(super) fn failed(&self, operation: &str, error: &io::Error) {
        let reason = format!("{operation}: {error}");
        if self.report.borrow().as_ref() != Some(&reason) {
            tracing::error!(%error, operation, "the audit log cannot be written; trying again each second");
            self.report.send_replace(Some(reason));
        }
    }

    pub(super) fn recovered(&self) {
        if self.report.borrow().is_some() {
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::warn!(lost, "the audit log can be written again");
            self.report.send_replace(None);
        }
    }

    pub(super) fn copied(&self, lines: Vec<u8>) {
        // Best effort: a reader of standard output that does not read costs lines of the copy, nothing else.
        let _ = self.copy.as_ref().map(|copy| copy.try_send(lines));
    }
}

fn copy_to_stdout() -> Option<SyncSender<Vec<u8>>> {
    let (copy, lines) = sync_channel::<Vec<u8>>(COPIES);
    let print = move || lines.iter().try_for_each(|batch| io::stdout().lock().write_all(&batch));
    std::thread::Builder::new().name("audit-copy".to_owned()).spawn(print).ok().map(|_| copy)
}
