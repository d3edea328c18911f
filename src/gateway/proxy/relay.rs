//! The upstream's answer on its way to the client.

use std::{
    future::{Future, poll_fn},
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
    /// Taken before the answer's head was given on; its credit is given back when it goes on.
    first: Option<Bytes>,
    state: State,
    answer: Answer,
    operation: Box<Operation>,
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
        operation: Box<Operation>,
        timer: Option<Pin<Box<Sleep>>>,
        pump: Option<AbortOnDrop>,
        lease: Lease,
    ) -> Self {
        let answer = Answer::begins(operation.guest().clone(), recv.flow_control());
        Self { recv, first: None, state: State::Data, answer, operation, timer, pump, _lease: lease }
    }

    /// Takes what came together with the answer's head, without waiting for more: one frame, and the end if that is
    /// there too. A whole small answer then leaves in one piece, for its record is written before its head leaves.
    pub(super) async fn gather(&mut self) {
        poll_fn(|cx| {
            if let Poll::Ready(Some(data)) = self.poll_recv(cx) {
                self.first = Some(data);
                self.gather_end(cx);
            }
            Poll::Ready(())
        })
        .await;
        if let State::Held(_, written) = &mut self.state
            && let Some(written) = written.take()
        {
            written.await;
        }
    }

    fn gather_end(&mut self, cx: &mut Context<'_>) {
        match self.recv.poll_trailers(cx) {
            // What is next is no end, or not there yet.
            Poll::Pending => {}
            Poll::Ready(Ok(trailers)) => self.end(trailers),
            Poll::Ready(Err(error)) => self.broken(&error),
        }
    }

    /// Whether the last frame was given.
    pub(in crate::gateway) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The next frame.
    pub(in crate::gateway) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(data) = self.first.take() {
            return Poll::Ready(Some(Frame::data(self.passed(data))));
        }
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

    /// Data to give on, or `None` when the state changed.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ends() {
            return Poll::Ready(None);
        }
        let data = ready!(self.poll_recv(cx));
        Poll::Ready(data.map(|data| self.passed(data)))
    }

    /// Gives back the credit of data that goes on. Asked for only when the client's stream has room: what is released
    /// was sent on, but for one frame.
    fn passed(&mut self, data: Bytes) -> Bytes {
        let _ = self.recv.flow_control().release_capacity(data.len());
        self.answer.hands(data)
    }

    /// Data from the upstream, or `None` when the state changed.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match ready!(self.recv.poll_data(cx)) {
            // An empty frame that ends nothing is not passed on (see the pump).
            Some(Ok(data)) if data.is_empty() => return self.poll_recv(cx),
            Some(Ok(data)) => {
                self.operation.response_bytes += data.len() as u64;
                return Poll::Ready(Some(data));
            }
            Some(Err(error)) => self.broken(&error),
            None => match ready!(self.recv.poll_trailers(cx)) {
                Ok(trailers) => self.end(trailers),
                Err(error) => self.broken(&error),
            },
        }
        Poll::Ready(None)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        let code = trailers.as_ref().and_then(reply::status_of).unwrap_or(status::UNKNOWN);
        self.close(code, trailers);
    }

    fn broken(&mut self, error: &h2::Error) {
        self.operation.because(format!("broken off by the upstream: {error}"));
        self.close(status::UNAVAILABLE, Some(reply::trailers(status::UNAVAILABLE, super::BROKEN)));
    }

    fn close(&mut self, code: u32, trailers: Option<HeaderMap>) {
        self.state = State::Held(trailers, self.operation.finish(End::Grpc(code)));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}
