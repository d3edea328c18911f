//! The thread that writes log lines, and the bounded queue before it.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use caps::{CapSet, CapsHashSet};

/// Most bytes that wait to be written.
const QUEUE: usize = 1 << 20;

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    writing: bool,
    lost: u64,
    /// Of `lost`, those already told in the log.
    told: u64,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Takes lines without ever blocking on the output.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Shared>);

impl Writer {
    /// Starts the thread that writes to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).stack_size(128 << 10).spawn(move || theirs.write_all_to(out))?;
        Ok(Self(shared))
    }

    /// Queues a line (without its newline); counts it as lost when the queue is full.
    pub(super) fn line(&self, line: &[u8]) {
        let mut queue = self.0.lock();
        if queue.bytes.len() + line.len() >= QUEUE {
            queue.lost += 1;
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.bytes.push(b'\n');
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Lines lost, if some are that were not told yet and there is room to tell.
    pub(super) fn untold_losses(&self) -> Option<u64> {
        let mut queue = self.0.lock();
        let untold = queue.lost - queue.told;
        if untold == 0 || queue.bytes.len() > QUEUE / 2 {
            return None;
        }
        queue.told = queue.lost;
        Some(untold)
    }

    pub(super) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until nothing is queued or being written.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut queue = self.0.lock();
        while !queue.bytes.is_empty() || queue.writing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut out: impl Write) {
        give_up_capabilities();
        let mut batch = Vec::new();
        loop {
            let mut queue = self.lock();
            queue.writing = false;
            self.changed.notify_all();
            while queue.bytes.is_empty() {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut queue.bytes);
            queue.writing = true;
            drop(queue);
            // A closed output is no reason to end: the audit log and the children's work go on.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
        }
    }
}

/// This thread only writes to a descriptor that is already open.
fn give_up_capabilities() {
    for set in [CapSet::Effective, CapSet::Permitted] {
        let _ = caps::set(None, set, &CapsHashSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output that takes nothing until it is let go.
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_output_costs_lines_that_are_counted_and_never_time() {
        let (go, stuck) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let writer = Writer::start(Stuck(stuck, written)).unwrap();
        let started = Instant::now();
        writer.line(b"the one that is stuck");
        while !writer.0.lock().writing {
            thread::yield_now();
        }
        for _ in 0..2 * QUEUE / 1024 + 2 {
            writer.line(&[b'x'; 1023]);
        }
        writer.flush(Duration::from_millis(20));
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(writer.lost() > 0);
        assert_eq!(writer.untold_losses(), None, "no room to tell yet");
        drop(go);
        writer.flush(Duration::from_secs(5));
        assert_eq!(writer.untold_losses(), Some(writer.lost()));
        assert_eq!(writer.untold_losses(), None, "told once");
        assert!(lines.try_iter().flatten().count() >= QUEUE - 2048);
    }
}
