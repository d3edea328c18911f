//! The one thread that writes the audit file: batches, sync, and what happens when the disk says no.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Message, NextFile, Settings,
    bell::{self, Waiting},
};
use crate::{
    audit::{Chain, Lines},
    config::{AuditFail, AuditSync},
};

/// Most records in one `write()`.
const BATCH: usize = 1024;
/// Longest time lines stay unsynced with `WARDEN_AUDIT_SYNC=batch`.
const SYNC: Duration = Duration::from_millis(100);
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Batches that may wait for standard output; more are left out of the copy.
const COPIES: usize = 64;

/// The writer's state.
pub(super) struct Writer {
    lines: Lines,
    files: mpsc::UnboundedReceiver<NextFile>,
    chain: Chain,
    sync: AuditSync,
    fail: AuditFail,
    report: watch::Sender<Option<String>>,
    lost: Arc<AtomicU64>,
    copy: Option<std_mpsc::SyncSender<Vec<u8>>>,
    unsynced: Option<Instant>,
}

/// One round: lines, who waits for them, and whether it is the last.
#[derive(Default)]
struct Round {
    lines: Vec<u8>,
    waiting: Vec<Waiting>,
    close: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(
        file: File,
        files: mpsc::UnboundedReceiver<NextFile>,
        settings: Settings,
        report: watch::Sender<Option<String>>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let (chain, copy) = (Chain::after(settings.last), settings.stdout.then(copy_to_stdout).flatten());
        let (lines, sync, fail) = (Lines::new(file), settings.sync, settings.fail);
        Self { lines, files, chain, sync, fail, report, lost, copy, unsynced: None }
    }

    /// Serves the queue until it is closed.
    pub(super) fn run(mut self, mut records: mpsc::Receiver<Message>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async { while self.round(&mut records).await.is_some() {} }),
            Err(error) => {
                let _ = self.report.send(Some(format!("its writer can't start: {error}")));
            }
        }
    }

    /// One batch, or one change of files between two; `None` after the last.
    async fn round(&mut self, records: &mut mpsc::Receiver<Message>) -> Option<()> {
        let mut batch = Vec::new();
        let received = tokio::select! {
            biased;
            Some(next) = self.files.recv() => {
                self.switch(next);
                return Some(());
            }
            () = due(self.unsynced) => {
                self.synced().await;
                return Some(());
            }
            received = records.recv_many(&mut batch, BATCH) => received,
        };
        let mut round = self.chained(batch);
        if !round.lines.is_empty() {
            self.write(&mut round).await;
        }
        if received == 0 || round.close.is_some() {
            self.synced().await;
            round.close.map(|done| done.send(()));
            return None;
        }
        Some(())
    }

    fn chained(&mut self, batch: Vec<Message>) -> Round {
        let mut round = Round::default();
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
    fn switch(&mut self, next: NextFile) {
        if let Err(error) = self.lines.sync() {
            self.failed("sync", &error);
        }
        self.lines = Lines::new(next.file);
        self.unsynced = None;
        // PID 1 may have stopped waiting for the answer.
        let _ = next.switched.send(());
    }

    async fn write(&mut self, round: &mut Round) {
        let (mut done, mut cut) = (0, false);
        while done < round.lines.len() {
            let rest = &round.lines[done..];
            match self.lines.write(rest) {
                Ok(written) if written == rest.len() => break,
                // The disk is full from here on; the next try says so in the system's own words.
                Ok(written) if written > 0 || !cut => {
                    (done, cut) = (done + written, written == 0);
                    continue;
                }
                Ok(_) => self.failed("write", &io::Error::from(io::ErrorKind::StorageFull)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed("write", &error),
            }
            if self.fail == AuditFail::Open || round.close.is_some() {
                return self.give_up(round, done);
            }
            self.pause().await;
        }
        self.unsynced.get_or_insert_with(Instant::now);
        if self.sync == AuditSync::Always {
            self.synced().await;
        } else {
            self.recovered();
        }
        bell::ring(round.waiting.drain(..));
        self.copied(std::mem::take(&mut round.lines));
    }

    /// Until the next try, or until there is another file.
    async fn pause(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            Some(next) = self.files.recv() => self.switch(next),
        }
    }

    /// Served without record from byte `done` on: the gap stays visible in the numbers. The next batch is the next try.
    fn give_up(&mut self, round: &mut Round, done: usize) {
        let lost = round.lines[done..].iter().filter(|b| **b == b'\n').count();
        self.lost.fetch_add(lost as u64, Ordering::Relaxed);
        round.waiting.clear();
    }

    async fn synced(&mut self) {
        while let Err(error) = self.lines.sync() {
            self.failed("sync", &error);
            if self.fail == AuditFail::Open {
                break;
            }
            self.pause().await;
        }
        self.unsynced = None;
        self.recovered();
    }

    fn failed(&self, operation: &str, error: &io::Error) {
        let reason = format!("{operation}: {error}");
        if self.report.borrow().as_ref() != Some(&reason) {
            tracing::error!(%error, operation, "the audit log cannot be written; trying again each second");
            self.report.send_replace(Some(reason));
        }
    }

    fn recovered(&self) {
        if self.report.borrow().is_some() {
            let lost = self.lost.load(Ordering::Relaxed);
            tracing::warn!(lost, "the audit log can be written again");
            self.report.send_replace(None);
        }
    }

    fn copied(&self, lines: Vec<u8>) {
        // Best effort: a reader of standard output that does not read costs lines of the copy, nothing else.
        let _ = self.copy.as_ref().map(|copy| copy.try_send(lines));
    }
}

/// When lines that wait for a sync since `unsynced` must be synced.
async fn due(unsynced: Option<Instant>) {
    match unsynced {
        Some(since) => sleep_until(since + SYNC).await,
        None => std::future::pending().await,
    }
}

fn copy_to_stdout() -> Option<std_mpsc::SyncSender<Vec<u8>>> {
    let (copy, lines) = std_mpsc::sync_channel::<Vec<u8>>(COPIES);
    let print = move || lines.iter().try_for_each(|batch| io::stdout().lock().write_all(&batch));
    std::thread::Builder::new().name("audit-copy".to_owned()).spawn(print).ok().map(|_| copy)
}
