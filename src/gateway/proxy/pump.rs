//! The client's request on its way to the upstream: frame by frame, never a whole message.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::request::Parts;

use super::upload::Upload;
use crate::gateway::{glimpse::Glimpse, operation::Operation};

/// Most bytes of a body that h2 takes before it has sent the head: a frame of HTTP/2's own default size.
const WITH_HEAD: usize = 16 << 10;

/// Copies a request body; done when its end was passed on, or when the upstream wants no more of it.
///
/// At most one frame is held: the next is taken from the client when this one was accepted upstream.
pub(super) struct Pump {
    body: Upload,
    send: SendStream<Bytes>,
    held: Bytes,
    sent: Arc<AtomicU64>,
    glimpse: Option<Glimpse>,
    /// The head, for another connection; gone with the first frame taken.
    spare: Option<Box<Parts>>,
    /// Nothing of the body was given to h2 yet.
    starts: bool,
}

impl Pump {
    pub(super) fn new(body: Upload, send: SendStream<Bytes>, operation: &Operation, spare: Option<Box<Parts>>) -> Self {
        let (sent, glimpse) = (operation.request_bytes.clone(), operation.glimpse());
        Self { body, send, held: Bytes::new(), sent, glimpse, spare, starts: true }
    }

    /// Head and body, if nothing was taken from the body yet: then the call may be sent on another connection.
    pub(super) fn untouched(self) -> Option<(Box<Parts>, Upload)> {
        Some((self.spare?, self.body))
    }

    /// Sends what is held; an error means that the upstream takes no more.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        // h2 grants no capacity before the head has left. What is there already leaves with it, in one record and one write.
        if self.starts && (1..=WITH_HEAD).contains(&self.held.len()) {
            self.starts = false;
            let (held, last) = (mem::take(&mut self.held), self.body.is_end_stream());
            self.send.send_data(held, last)?;
        }
        while !self.held.is_empty() {
            self.send.reserve_capacity(self.held.len());
            let mut room = self.send.capacity();
            if room == 0 {
                room = match ready!(self.send.poll_capacity(cx)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(Reason::CANCEL.into())),
                };
            }
            let part = self.held.split_to(room.min(self.held.len()));
            let last = self.held.is_empty() && self.body.is_end_stream();
            self.send.send_data(part, last)?;
        }
        Poll::Ready(Ok(()))
    }

    /// One more frame of the client's; `true` after the last.
    fn take(&mut self, frame: Option<Result<http_body::Frame<Bytes>, hyper::Error>>) -> Result<bool, h2::Error> {
        self.spare = None;
        match frame {
            None => self.send.send_data(Bytes::new(), true).map(|()| true),
            Some(Err(_)) => {
                self.send.send_reset(Reason::CANCEL);
                Ok(true)
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() && self.body.is_end_stream() => {
                    self.send.send_data(data, true).map(|()| true)
                }
                // Empty frames that end nothing would use up the next hop's budget of them.
                Ok(data) => {
                    self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
                    if let Some(glimpse) = &mut self.glimpse {
                        glimpse.pass(&data);
                    }
                    self.held = data;
                    Ok(false)
                }
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => self.send.send_trailers(trailers).map(|()| true),
                    Err(_) => Ok(false),
                },
            },
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pump = self.get_mut();
        loop {
            let had = !pump.held.is_empty();
            if ready!(pump.poll_held(cx)).is_err() || (had && pump.body.is_end_stream()) {
                return Poll::Ready(());
            }
            let frame = ready!(pump.body.poll_frame(cx));
            if pump.take(frame).unwrap_or(true) {
                return Poll::Ready(());
            }
        }
    }
}
