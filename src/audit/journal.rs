//! Writes the warden's own records: from PID 1 through a thread, so that a full or slow disk never holds PID 1 up, and
//! from a command that works alone at once.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use super::{Act, By, Chain, Lines, Series, WARDEN, act, files, last_link};
use crate::clock;

/// Acts that may wait for the disk; more are told in the warden's own log only.
const QUEUE: usize = 256;
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long another writer of the warden's records (a command that works alone) is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

enum Job {
    Note(Vec<u8>),
    Switch(File),
    Flush(SyncSender<()>),
}

/// Takes the acts of PID 1; cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal {
    jobs: SyncSender<Job>,
}

impl Journal {
    /// Goes on at the end of `series`, in `file`, its current one.
    pub fn start(file: File, series: &Series) -> io::Result<Self> {
        if !locked(&file)? {
            warn!("{}: another warden writes this audit log too; give each its own", series.current().display());
        }
        let chain = Chain::after(last_link(series, WARDEN)?);
        let (jobs, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || run(Lines::new(file), chain, &queue))?;
        Ok(Self { jobs })
    }

    /// Puts an act on record; `detail` says what came of it.
    pub fn note(&self, act: Act, by: By, detail: &str) {
        let record = act::record(act, by, detail, clock::now());
        if let Err(unsent) = self.jobs.try_send(Job::Note(record))
            && let std::sync::mpsc::TrySendError::Full(Job::Note(record)) = unsent
        {
            error!("{QUEUE} acts wait for the audit log; not on record: {}", String::from_utf8_lossy(&record));
        }
    }

    /// Puts a failed act on record.
    pub fn failed(&self, act: Act, by: By, reason: &str) {
        self.note(act, by, &format!("failed: {reason}"));
    }

    /// Later records go to `file`.
    pub fn switch(&self, file: File) {
        // Nobody who came before us can hold the lock of a file that is new; whoever came after has to wait.
        let _ = file.try_lock();
        // A queue that is full of a full disk's records keeps its file; they are on the same volume.
        if self.jobs.try_send(Job::Switch(file)).is_err() {
            warn!("the warden's own records stay in the old audit file");
        }
    }

    /// Waits until everything is written, `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let (done, flushed) = sync_channel(1);
        let asked = self.jobs.try_send(Job::Flush(done)).is_ok();
        if !asked || flushed.recv_timeout(limit).is_err() {
            warn!("not all acts of the warden are in the audit log: it could not be written within {limit:?}");
        }
    }
}

/// One record of a command that works alone; false where there is no folder for it that this user may write to.
pub fn note_here(path: &Path, group: Option<u32>, act: Act, by: By, detail: &str) -> io::Result<bool> {
    let file = match files::open(path, group) {
        Ok(file) => file,
        Err(error) if cannot(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !locked(&file)? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "a running warden writes it"));
    }
    let mut line = Vec::new();
    let mut chain = Chain::after(last_link(&Series::of(path), WARDEN)?);
    chain.append(&act::record(act, by, detail, clock::now()), &mut line);
    let mut lines = Lines::new(file);
    if lines.write(&line)? < line.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    lines.sync().map(|()| true)
}

fn cannot(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied | ReadOnlyFilesystem)
}

/// One writer of the warden's chain; the kernel frees the lock when it ends.
fn locked(file: &File) -> io::Result<bool> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_LIMIT => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn run(mut lines: Lines, mut chain: Chain, jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Note(record) => {
                let mut line = Vec::new();
                chain.append(&record, &mut line);
                put(&mut lines, &line);
            }
            Job::Switch(file) => lines = Lines::new(file),
            Job::Flush(done) => drop(done.send(())),
        }
    }
}

/// Writes one line, however long the disk stays full.
fn put(lines: &mut Lines, line: &[u8]) {
    for attempt in 1.. {
        let written = match lines.write(line) {
            Ok(written) if written == line.len() => lines.sync(),
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) if attempt > 1 => return warn!("the audit log can be written again: the warden's acts are on it"),
            Ok(()) => return,
            Err(error) if attempt == 1 => {
                let record = String::from_utf8_lossy(line.trim_ascii_end());
                error!("an act of the warden waits for the audit log, which cannot be written ({error}): {record}");
            }
            Err(_) => {}
        }
        std::thread::sleep(RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verifier, *};

    fn verified(series: &Series) -> (u64, u64) {
        let mut verifier = Verifier::default();
        for path in series.oldest_first().unwrap() {
            verifier.file("f", std::io::BufReader::new(File::open(path).unwrap())).unwrap();
        }
        verifier.finish();
        assert_eq!(verifier.findings(), []);
        (verifier.writers()[WARDEN].first, verifier.writers()[WARDEN].last)
    }

    #[test]
    fn acts_go_on_one_chain_over_restarts_rotations_and_commands() {
        let folder = tempfile::tempdir().unwrap();
        let series = Series::of(&folder.path().join("audit.jsonl"));
        let open = || files::open(series.current(), None).unwrap();
        assert!(note_here(series.current(), None, Act::MakeMissing, By::this_command(), "made ca.crt").unwrap());
        let journal = Journal::start(open(), &series).unwrap();
        journal.note(Act::Start, By::Itself, "");
        series.rotate(5).unwrap();
        journal.switch(open());
        journal.failed(Act::GenerateTokens, By::Control { uid: 0, pid: Some(41) }, "no\x1bspace");
        journal.flush(Duration::from_secs(10));
        drop(journal);
        series.rotate(5).unwrap();
        let journal = Journal::start(open(), &series).unwrap();
        journal.note(Act::Stop, By::Hangup, "");
        journal.flush(Duration::from_secs(10));
        assert_eq!(verified(&series), (1, 4));
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl.1")).unwrap();
        let wanted = r#""method":"GenerateTokens","principal":{"sub":"uid:0"},"peer":"control.sock pid 41","decision":"allow","reason":"failed: no\u001bspace"}"#;
        assert!(text.trim_end().ends_with(wanted), "{text}");
    }

    #[test]
    fn where_no_folder_is_no_record_is_left_and_nothing_fails() {
        let by = By::this_command();
        assert!(!note_here(Path::new("/nowhere/audit.jsonl"), None, Act::MakeMissing, by, "").unwrap());
    }
}
