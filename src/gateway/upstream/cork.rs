//! Holds what is written to the upstream until no other task of this worker is ready.
//!
//! h2 writes at the end of each turn of a connection. grpc-go sends a ping with nearly every answer, to measure the way:
//! its pong would be written, and the upstream woken for it, before the client has the answer that came along: that takes
//! turns of the call, of the audit log and of the client's connection. Held it leaves after the answer, and in one record
//! with the requests that come meanwhile.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
};

/// Bytes held at most: what fits into one record of TLS (RFC 8446 §5.1).
const FULL: usize = 16 << 10;

/// A stream whose `poll_flush` writes when it is called again, and sees to it that it is.
pub(super) struct Cork<S> {
    stream: S,
    held: BytesMut,
    /// The others have had their turns, or will have had them: the next flush writes.
    due: bool,
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: BytesMut::new(), due: false }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held.advance(written),
            }
        }
        self.due = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() >= FULL {
            ready!(self.poll_held(cx))?;
        }
        let taken = bytes.len().min(FULL - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() && !self.due {
            self.due = true;
            // Wakes this task when nothing else is left to run. What it says now is no news.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// One turn of a connection's task: everything is written, then flushed.
    async fn turn(cork: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
        cork.write_all(bytes).await.unwrap();
        cork.flush().await.unwrap();
    }

    #[tokio::test]
    async fn what_a_turn_writes_leaves_in_the_next_with_what_came_meanwhile() {
        let (near, mut far) = duplex(1 << 20);
        let mut cork = Cork::new(near);
        turn(&mut cork, b"pong").await;
        let nothing = poll_fn(|cx| {
            let mut byte = [0];
            Poll::Ready(Pin::new(&mut far).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending())
        });
        assert!(nothing.await, "written in its own turn");
        turn(&mut cork, b" and request").await;
        let mut seen = [0; 64];
        let length = far.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..length], b"pong and request");
    }

    #[tokio::test]
    async fn a_task_that_flushed_is_woken_to_write() {
        let (near, mut far) = duplex(1 << 20);
        let mut cork = Cork::new(near);
        cork.write_all(b"request").await.unwrap();
        // As a connection's task: each time it runs it flushes, and nobody else wakes it.
        let connection = tokio::spawn(poll_fn(move |cx| {
            ready!(Pin::new(&mut cork).poll_flush(cx)).unwrap();
            Poll::<()>::Pending
        }));
        let mut seen = [0; 7];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"request");
        connection.abort();
    }

    #[tokio::test]
    async fn a_slow_reader_gets_every_byte_in_order_and_no_more_than_one_record_is_held() {
        let (near, mut far) = duplex(100);
        let mut cork = Cork::new(near);
        let sent: Vec<u8> = (0..3 * FULL).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for part in sent.chunks(7000) {
                turn(&mut cork, part).await;
                assert!(cork.held.len() <= FULL);
            }
            cork.shutdown().await.unwrap();
        });
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, expected);
        writer.await.unwrap();
    }
}
