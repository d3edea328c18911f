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
/// Most of them that may be lines of children: one that floods leaves room for what PID 1 itself has to say.
const CHILDRENS: usize = QUEUE / 4 * 3;

/// Back to the first column, and the rest of the line cleared (ECMA-48 EL).
pub(crate) const ERASE: &str = "\r\x1b[K";

/// Whose line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// This process.
    Us,
    /// A child.
    Child,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    writing: bool,
    lost: u64,
    /// Of `lost`, those already told in the log.
    told: u64,
    /// The line that stays below the others.
    live: Option<String>,
    /// It changed since it was drawn.
    redraw: bool,
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
    /// Starts the thread that writes to `out`. `tell` makes the line that says how many were lost at its place.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        tell: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let write = move || theirs.write_all_to(out, tell);
        thread::Builder::new().name("log".to_owned()).stack_size(128 << 10).spawn(write)?;
        Ok(Self(shared))
    }

    /// Queues a line (without its newline); counts it as lost when the queue is full.
    pub(super) fn line(&self, from: From, line: &[u8]) {
        let room = if from == From::Us { QUEUE } else { CHILDRENS };
        let mut queue = self.0.lock();
        if queue.bytes.len() + line.len() >= room {
            queue.lost += 1;
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.bytes.push(b'\n');
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Another live line, or none.
    pub(super) fn live(&self, text: Option<String>) {
        let mut queue = self.0.lock();
        queue.redraw |= queue.live != text;
        queue.live = text;
        drop(queue);
        self.0.changed.notify_all();
    }

    pub(super) fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Waits until nothing is queued or being written.
    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut queue = self.0.lock();
        while !queue.bytes.is_empty() || queue.redraw || queue.writing {
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

    fn write_all_to(&self, mut out: impl Write, tell: impl Fn(u64) -> String) {
        give_up_capabilities();
        let mut batch = Vec::new();
        let mut drawn = false;
        loop {
            let mut queue = self.lock();
            queue.writing = false;
            self.changed.notify_all();
            while queue.bytes.is_empty() && !queue.redraw {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut queue.bytes);
            queue.writing = true;
            queue.redraw = false;
            let live = queue.live.clone();
            let untold = queue.lost - queue.told;
            queue.told = queue.lost;
            drop(queue);
            if untold > 0 {
                // They were lost while the queue was full, which is after the lines of this batch.
                batch.extend_from_slice(tell(untold).as_bytes());
                batch.push(b'\n');
            }
            if drawn {
                batch.splice(..0, ERASE.bytes());
            }
            if let Some(live) = &live {
                batch.extend_from_slice(live.as_bytes());
            }
            drawn = live.is_some();
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

    fn told(lost: u64) -> String {
        format!("lost={lost}")
    }

    #[test]
    fn a_stuck_output_costs_lines_that_are_counted_at_their_place_and_never_time() {
        let (go, stuck) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let writer = Writer::start(Stuck(stuck, written), told).unwrap();
        let started = Instant::now();
        writer.line(From::Us, b"the one that is stuck");
        while !writer.0.lock().writing {
            thread::yield_now();
        }
        for _ in 0..2 * QUEUE / 1024 + 2 {
            writer.line(From::Us, &[b'x'; 1023]);
        }
        writer.flush(Duration::from_millis(20));
        assert!(started.elapsed() < Duration::from_secs(2));
        let lost = writer.lost();
        assert!(lost > 0);
        drop(go);
        writer.flush(Duration::from_secs(5));
        writer.line(From::Us, b"after");
        writer.flush(Duration::from_secs(5));
        let text: Vec<u8> = lines.try_iter().flatten().collect();
        assert!(text.len() >= QUEUE - 2048);
        let end = format!("x\nlost={lost}\nafter\n");
        assert!(text.ends_with(end.as_bytes()), "told once, where they are missing");
    }

    /// An output that can be read.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_live_line_stays_below_the_log_and_leaves_nothing_behind() {
        let screen = Screen::default();
        let writer = Writer::start(screen.clone(), told).unwrap();
        let all = || writer.flush(Duration::from_secs(5));
        for step in [Some("1 s"), Some("1 s"), Some("2 s")] {
            writer.live(step.map(str::to_owned));
            all();
        }
        writer.line(From::Us, b"a line");
        all();
        writer.live(None);
        all();
        writer.line(From::Us, b"the last");
        all();
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "1 s\r\x1b[K2 s\r\x1b[Ka line\n2 s\r\x1b[Kthe last\n");
    }

    #[test]
    fn a_child_that_floods_leaves_room_for_our_own_lines() {
        let (_go, stuck) = mpsc::channel();
        let writer = Writer::start(Stuck(stuck, mpsc::channel().0), told).unwrap();
        for _ in 0..2 * QUEUE / 1024 {
            writer.line(From::Child, &[b'x'; 1023]);
        }
        let lost = writer.lost();
        assert!(lost > 0);
        writer.line(From::Us, b"stopping");
        assert_eq!(writer.lost(), lost);
    }
}
