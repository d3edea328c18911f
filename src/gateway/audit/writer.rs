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
    time::{Instant, timeout_at},
};

use super::{Message, Settings, chain::Chain};
use crate::config::{AuditFail, AuditSync};

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
    file: File,
    chain: Chain,
    sync: AuditSync,
    fail: AuditFail,
    report: watch::Sender<Option<String>>,
    lost: Arc<AtomicU64>,
    copy: Option<std_mpsc::SyncSender<Vec<u8>>>,
    unsynced: Option<Instant>,
    /// A line was cut in the middle and given up: the next one starts on a line of its own.
    torn: bool,
}

/// One round: lines, who waits for them, and whether it is the last.
#[derive(Default)]
struct Round {
    lines: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    close: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(
        file: File,
        settings: Settings,
        report: watch::Sender<Option<String>>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let (chain, copy) = (Chain::after(settings.last), settings.stdout.then(copy_to_stdout).flatten());
        Self { file, chain, sync: settings.sync, fail: settings.fail, report, lost, copy, unsynced: None, torn: false }
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

    /// One batch; `None` after the last.
    async fn round(&mut self, records: &mut mpsc::Receiver<Message>) -> Option<()> {
        let mut batch = Vec::new();
        let received = match self.unsynced {
            None => records.recv_many(&mut batch, BATCH).await,
            Some(since) => match timeout_at(since + SYNC, records.recv_many(&mut batch, BATCH)).await {
                Ok(received) => received,
                Err(_) => {
                    self.synced().await;
                    return Some(());
                }
            },
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
        if !batch.is_empty() && std::mem::take(&mut self.torn) {
            round.lines.push(b'\n');
        }
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

    async fn write(&mut self, round: &mut Round) {
        let mut rest = &round.lines[..];
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => self.failed("write", &io::Error::from(io::ErrorKind::WriteZero)),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed("write", &error),
            }
            if self.report.borrow().is_some() && !rest.is_empty() {
                if self.fail == AuditFail::Open || round.close.is_some() {
                    self.torn = rest.len() < round.lines.len();
                    return self.give_up(round);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        self.unsynced.get_or_insert_with(Instant::now);
        if self.sync == AuditSync::Always {
            self.synced().await;
        } else {
            self.recovered();
        }
        for waiting in round.waiting.drain(..) {
            let _ = waiting.send(());
        }
        self.copied(std::mem::take(&mut round.lines));
    }

    /// Served without record: the gap stays visible in the numbers. The next batch is the next try.
    fn give_up(&mut self, round: &mut Round) {
        self.lost.fetch_add(round.waiting.len() as u64, Ordering::Relaxed);
        round.waiting.clear();
    }

    async fn synced(&mut self) {
        while let Err(error) = self.file.sync_data() {
            // Pipes and terminals can't be synced; there is nothing to lose by it.
            if error.kind() == io::ErrorKind::InvalidInput {
                break;
            }
            self.failed("sync", &error);
            if self.fail == AuditFail::Open {
                break;
            }
            tokio::time::sleep(RETRY).await;
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
            tracing::warn!("the audit log can be written again");
            self.report.send_replace(None);
        }
    }

    fn copied(&self, lines: Vec<u8>) {
        // Best effort: a reader of standard output that does not read costs lines of the copy, nothing else.
        let _ = self.copy.as_ref().map(|copy| copy.try_send(lines));
    }
}

fn copy_to_stdout() -> Option<std_mpsc::SyncSender<Vec<u8>>> {
    let (copy, lines) = std_mpsc::sync_channel::<Vec<u8>>(COPIES);
    let print = move || lines.iter().try_for_each(|batch| io::stdout().lock().write_all(&batch));
    std::thread::Builder::new().name("audit-copy".to_owned()).spawn(print).ok().map(|_| copy)
}
