//! A request's body on its way: what was read of it ahead, then the rest as it comes.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

/// Nothing is read ahead for a token of all namespaces: then this is the client's own body.
pub(in crate::gateway) struct Upload {
    /// Read ahead as one frame, or, when it took several, as their copy in `more`.
    first: Bytes,
    more: Vec<u8>,
    /// Trailers that came while more was awaited.
    last: Option<Frame<Bytes>>,
    rest: Incoming,
    room: Option<OwnedSemaphorePermit>,
}

impl From<Incoming> for Upload {
    fn from(rest: Incoming) -> Self {
        Self { first: Bytes::new(), more: Vec::new(), last: None, rest, room: None }
    }
}

impl Upload {
    /// What was not read ahead.
    pub(in crate::gateway) fn rest(self) -> Incoming {
        self.rest
    }

    /// What was read ahead so far.
    pub(in crate::gateway) fn seen(&self) -> &[u8] {
        if self.more.is_empty() { &self.first } else { &self.more }
    }

    /// Reads more ahead; false at the end. Dropped while it waits it loses nothing.
    pub(in crate::gateway) async fn read_ahead(&mut self) -> Result<bool, hyper::Error> {
        if self.last.is_some() {
            return Ok(false);
        }
        let frame = poll_fn(|cx| Pin::new(&mut self.rest).poll_frame(cx)).await.transpose()?;
        match frame.map(Frame::into_data) {
            None => return Ok(false),
            Some(Ok(data)) if self.seen().is_empty() => self.first = data,
            Some(Ok(data)) => {
                self.copy_first(data.len());
                self.more.extend_from_slice(&data);
            }
            Some(Err(trailers)) => self.last = Some(trailers),
        }
        Ok(true)
    }

    /// Room taken for a message of `length` bytes; given back when it has gone on.
    pub(in crate::gateway) fn takes(&mut self, room: OwnedSemaphorePermit, length: usize) {
        self.copy_first(length);
        self.room = Some(room);
    }

    fn copy_first(&mut self, room: usize) {
        self.more.reserve(room);
        let first = std::mem::take(&mut self.first);
        self.more.extend_from_slice(&first);
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.seen().is_empty() {
            let more = std::mem::take(&mut self.more);
            let first = std::mem::take(&mut self.first);
            let data = if more.is_empty() { first } else { Bytes::from(more) };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.room = None;
        match self.last.take() {
            Some(trailers) => Poll::Ready(Some(Ok(trailers))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.seen().is_empty() && self.last.is_none() && self.rest.is_end_stream()
    }
}
