//! The upstream's answer on its way to the client.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::Frame;
use tokio::{task::AbortHandle, time::Sleep};

use crate::gateway::{
    audit::Written,
    operation::{End, Operation},
    reply::{self, status},
    unread::Answer,
    upstream::Lease,
};

/// Body of a forwarded answer. It owns the call: dropping it resets the upstream stream.
pub(in crate::gateway) struct Relay {
    recv: RecvStream,
    state: State,
    answer: Answer,
    operation: Operation,
    timer: Option<Pin<Box<Sleep>>>,
    pump: Option<AbortOnDrop>,
    _lease: Lease,
}

enum State {
    Data,
    /// Waits for the record before the trailers leave.
    Held(Option<HeaderMap>, Option<Written>),
    Done,
}

/// A request still on its way when the answer began; it ends with the answer.
pub(super) struct AbortOnDrop(pub AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    pub(super) fn new(
        mut recv: RecvStream,
        operation: Operation,
        timer: Option<Pin<Box<Sleep>>>,
        pump: Option<AbortOnDrop>,
        lease: Lease,
    ) -> Self {
        let answer = Answer::begins(operation.guest().clone(), recv.flow_control());
        Self { recv, state: State::Data, answer, operation, timer, pump, _lease: lease }
    }

    /// Whether the last frame was given.
    pub(in crate::gateway) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The next frame.
    pub(in crate::gateway) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            match &mut self.state {
                State::Data => match self.poll_data(cx) {
                    Poll::Ready(Some(data)) => return Poll::Ready(Some(Frame::data(data))),
                    Poll::Ready(None) => {}
                    // The place in the list keeps this task's waker: the next turn finds the call ended.
                    Poll::Pending if self.operation.stay().is_some_and(|stay| stay.poll_ended(cx).is_ready()) => {}
                    Poll::Pending => {
                        ready!(self.poll_timer(cx));
                        let late = "the call's own deadline passed";
                        self.close(status::DEADLINE_EXCEEDED, Some(reply::trailers(status::DEADLINE_EXCEEDED, late)));
                    }
                },
                State::Held(trailers, written) => {
                    if let Some(written) = written {
                        ready!(Pin::new(written).poll(cx));
                    }
                    let trailers = trailers.take();
                    self.operation.answered();
                    self.state = State::Done;
                    return Poll::Ready(trailers.map(Frame::trailers));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    /// Ends the answer when the call's token is no longer good; nothing more is taken from the client either.
    fn ends(&mut self) -> bool {
        let Some(why) = self.operation.stay().and_then(|stay| stay.is_ended()).map(str::to_owned) else { return false };
        self.pump = None;
        self.operation.because(format!("ended under way: {why}"));
        self.close(status::UNAUTHENTICATED, Some(reply::trailers(status::UNAUTHENTICATED, &why)));
        true
    }

    /// Data, or `None` when the state changed.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ends() {
            return Poll::Ready(None);
        }
        match ready!(self.recv.poll_data(cx)) {
            Some(Ok(data)) => {
                // Asked for only when the client's stream has room: what is released was sent on, but for one frame.
                let _ = self.recv.flow_control().release_capacity(data.len());
                self.operation.response_bytes += data.len() as u64;
                // An empty frame that ends nothing is not passed on (see the pump).
                if data.is_empty() { self.poll_data(cx) } else { Poll::Ready(Some(self.answer.hands(data))) }
            }
            Some(Err(error)) => self.broken(&error),
            None => match ready!(self.recv.poll_trailers(cx)) {
                Ok(trailers) => {
                    let code = trailers.as_ref().and_then(reply::status_of).unwrap_or(status::UNKNOWN);
                    self.close(code, trailers);
                    Poll::Ready(None)
                }
                Err(error) => self.broken(&error),
            },
        }
    }

    fn broken(&mut self, error: &h2::Error) -> Poll<Option<Bytes>> {
        self.operation.because(format!("broken off by the upstream: {error}"));
        self.close(status::UNAVAILABLE, Some(reply::trailers(status::UNAVAILABLE, super::BROKEN)));
        Poll::Ready(None)
    }

    fn close(&mut self, code: u32, trailers: Option<HeaderMap>) {
        self.state = State::Held(trailers, self.operation.finish(End::Grpc(code)));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}
