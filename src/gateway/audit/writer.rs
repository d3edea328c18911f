//! The thread that writes what the workers do not: batches of the queue, sync, and what happens when the disk says no.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Message, NextFile, bell,
    desk::Desk,
    log::{Log, Round},
};
use crate::config::{AuditFail, AuditSync};

/// Most records in one `write()`.
const BATCH: usize = 1024;
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The thread's state.
pub(super) struct Writer {
    desk: Arc<Desk>,
    files: mpsc::UnboundedReceiver<NextFile>,
    due: Option<Instant>,
}

/// What there is to do.
enum Event {
    File(NextFile),
    Sync,
    /// A worker left something, or wrote what is to be synced in time.
    Called,
    Records(Vec<Message>),
}

impl Writer {
    pub(super) fn new(desk: Arc<Desk>, files: mpsc::UnboundedReceiver<NextFile>) -> Self {
        Self { desk, files, due: None }
    }

    /// Serves the queue until it is closed.
    pub(super) fn run(mut self, mut records: mpsc::Receiver<Message>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async { while self.round(&mut records).await.is_some() {} }),
            Err(error) => self.desk.take().failed("start of the writer", &error),
        }
    }

    /// One event; `None` after the last.
    async fn round(&mut self, records: &mut mpsc::Receiver<Message>) -> Option<()> {
        let event = self.event(records).await;
        let mut log = self.desk.take();
        let goes_on = self.attend(&mut log, event).await;
        self.due = log.due();
        self.desk.put(log);
        goes_on
    }

    async fn event(&mut self, records: &mut mpsc::Receiver<Message>) -> Event {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            Some(next) = self.files.recv() => Event::File(next),
            () = due(self.due) => Event::Sync,
            () = self.desk.called() => Event::Called,
            _ = records.recv_many(&mut batch, BATCH) => Event::Records(batch),
        }
    }

    async fn attend(&mut self, log: &mut Log, event: Event) -> Option<()> {
        let (batch, is_last) = match event {
            Event::File(next) => {
                log.switch(next);
                return Some(());
            }
            Event::Sync => {
                self.synced(log).await;
                return Some(());
            }
            Event::Called => (Vec::new(), false),
            Event::Records(batch) => {
                let is_last = batch.is_empty();
                (batch, is_last)
            }
        };
        let mut round = log.chained(batch);
        if !round.lines.is_empty() {
            self.write(log, &mut round).await;
        }
        if is_last || round.close.is_some() {
            self.synced(log).await;
            round.close.map(|done| done.send(()));
            return None;
        }
        Some(())
    }

    async fn write(&mut self, log: &mut Log, round: &mut Round) {
        let (mut done, mut cut) = (0, false);
        while done < round.lines.len() {
            let rest = &round.lines[done..];
            match log.lines.write(rest) {
                Ok(written) if written == rest.len() => break,
                // The disk is full from here on; the next try says so in the system's own words.
                Ok(written) if written > 0 || !cut => {
                    (done, cut) = (done + written, written == 0);
                    continue;
                }
                Ok(_) => log.failed("write", &io::Error::from(io::ErrorKind::StorageFull)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => log.failed("write", &error),
            }
            if log.fail == AuditFail::Open || round.close.is_some() {
                return log.give_up(round, done);
            }
            self.pause(log).await;
        }
        log.unsynced.get_or_insert_with(Instant::now);
        if log.sync == AuditSync::Always {
            self.synced(log).await;
        } else {
            log.recovered();
        }
        bell::ring(round.waiting.drain(..));
        log.copied(std::mem::take(&mut round.lines));
    }

    /// Until the next try, or until there is another file.
    async fn pause(&mut self, log: &mut Log) {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            Some(next) = self.files.recv() => log.switch(next),
        }
    }

    async fn synced(&mut self, log: &mut Log) {
        while let Err(error) = log.lines.sync() {
            log.failed("sync", &error);
            if log.fail == AuditFail::Open {
                break;
            }
            self.pause(log).await;
        }
        log.unsynced = None;
        log.recovered();
    }
}

/// When lines must be synced.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
