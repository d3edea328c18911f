//! Lines of a child → our log: bounded in length, never holding anything up.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, task::JoinHandle};

use crate::telemetry;

/// Longest line that is logged; the rest of it is skipped.
const LONGEST: usize = 8 << 10;
/// Lines kept for error messages.
const TAIL: usize = 20;

/// The last lines of a child.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Reads a child's output until every holder of its pipe is gone. The task may be dropped at any time.
pub(super) fn follow(
    name: &'static str,
    pipe: OwnedFd,
    said: Option<watch::Sender<String>>,
) -> io::Result<(JoinHandle<()>, Tail)> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let tail = Tail::default();
    let kept = tail.clone();
    let task = tokio::task::spawn(async move {
        let mut lines = Lines::default();
        let mut chunk = vec![0; 16 << 10];
        let mut put = |line: String| {
            telemetry::child_line(name, &line);
            if let Some(said) = &said {
                said.send_replace(line.clone());
            }
            kept.push(line);
        };
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            lines.feed(&chunk[..length], &mut put);
        }
        lines.finish(&mut put);
    });
    Ok((task, tail))
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// The line was logged up to its bound; what follows until its end is dropped.
    cut: bool,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], put: &mut impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.extend(&bytes[..end], put);
            self.end(put);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes, put);
    }

    /// A last line without its newline is a line, too.
    fn finish(&mut self, put: &mut impl FnMut(String)) {
        if !self.line.is_empty() {
            self.end(put);
        }
    }

    fn extend(&mut self, bytes: &[u8], put: &mut impl FnMut(String)) {
        if self.cut {
            return;
        }
        let room = LONGEST - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            put(self.text() + " …[line cut at 8 KiB]");
            self.line.clear();
            self.cut = true;
        }
    }

    fn end(&mut self, put: &mut impl FnMut(String)) {
        if !std::mem::take(&mut self.cut) {
            put(self.text());
        }
        self.line.clear();
    }

    fn text(&self) -> String {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        String::from_utf8_lossy(line).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut put = |line| seen.push(line);
        chunks.iter().for_each(|chunk| lines.feed(chunk, &mut put));
        lines.finish(&mut put);
        seen
    }

    #[test]
    fn lines_are_put_together_from_any_chunks() {
        assert_eq!(lines_of(&[b"a", b"b\n\nc\r", b"\nlast"]), ["ab", "", "c", "last"]);
    }

    #[test]
    fn an_endless_line_is_cut_once_and_the_next_one_is_whole() {
        let flood = vec![b'x'; 3 * LONGEST];
        let seen = lines_of(&[&flood, &flood, b"\nnext\n"]);
        assert_eq!(seen.len(), 2);
        assert!(seen[0].starts_with("xxx") && seen[0].ends_with("…[line cut at 8 KiB]"));
        assert_eq!(seen[1], "next");
    }

    #[test]
    fn a_line_of_exactly_the_bound_is_not_cut() {
        let exact = vec![b'x'; LONGEST];
        assert_eq!(lines_of(&[&exact, b"\n"]), ["x".repeat(LONGEST)]);
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(lines_of(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn the_tail_keeps_the_last_lines_only() {
        let tail = Tail::default();
        (0..TAIL + 3).for_each(|n| tail.push(n.to_string()));
        assert_eq!(tail.lines().first().map(String::as_str), Some("3"));
        assert_eq!(tail.lines().len(), TAIL);
    }
}
