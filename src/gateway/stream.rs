//! A client's bytes on their way to and from hyper: what was read before is read again, and HTTP/2 frames are weighed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frames::Frames,
    guest::{Farewell, Guest},
};

/// A stream whose first bytes were read before.
pub(super) struct Client<S> {
    start: Vec<u8>,
    at: usize,
    stream: S,
    guest: Arc<Guest>,
    /// Of HTTP/2.
    frames: Option<Frames>,
    /// It has to go: nothing more is taken from it.
    over: bool,
}

impl<S> Client<S> {
    /// After `start`, which is the whole preface where it speaks HTTP/2.
    pub(super) fn new(start: Vec<u8>, stream: S, guest: Arc<Guest>, is_h2: bool) -> Self {
        let frames = is_h2.then(|| Frames::new(Instant::now()));
        Self { start, at: 0, stream, guest, frames, over: false }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Some(frames), Poll::Ready(Ok(bytes))) = (&mut self.frames, &written) {
            frames.sent(*bytes);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Client<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.start.len() {
            let part = &this.start[this.at..this.start.len().min(this.at + buf.remaining())];
            buf.put_slice(part);
            this.at += part.len();
            return Poll::Ready(Ok(()));
        }
        // Nobody is woken for it: the guest's own farewell ends the connection.
        if this.over {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let honest = |frames: &mut Frames| frames.received(&buf.filled()[before..], Instant::now);
        if this.frames.as_mut().is_none_or(honest) {
            return Poll::Ready(Ok(()));
        }
        this.over = true;
        buf.set_filled(before);
        this.guest.show_out(Farewell::FLOOD);
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Client<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
