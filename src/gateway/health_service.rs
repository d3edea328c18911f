//! `grpc.health.v1`, answered here by the same rule as `/health`.

use std::{
    io::Read,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use futures_util::{Stream, stream};
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::{
    health::Parts,
    link::Phase,
    operation::{End, Operation},
    reply::{self, Body, status},
};

/// Largest request looked at: it carries one service name.
const REQUEST: usize = 4096;
/// Names asked for by clients of the frontend; the empty name is the server as a whole.
const NAMES: [&str; 4] = [
    "",
    "temporal.api.workflowservice.v1.WorkflowService",
    "temporal.api.operatorservice.v1.OperatorService",
    "temporal.server.api.adminservice.v1.AdminService",
];

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    Yes = 1,
    No = 2,
    Unknown = 3,
}

/// Body of a `Watch` call.
pub(super) struct Watch {
    changes: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    operation: Box<Operation>,
    ended: bool,
}

/// Answers `Check`, `List` or `Watch`.
pub(super) async fn answer(
    method: &str,
    request: Request<Incoming>,
    health: watch::Receiver<Parts>,
    mut operation: Box<Operation>,
) -> Response<Body> {
    let name = match asked(request).await {
        Ok(name) => name,
        Err(why) => return refuse(&mut operation, status::UNKNOWN, why),
    };
    let known = NAMES.contains(&name.as_str());
    let body = match method {
        "Check" if !known => return refuse(&mut operation, status::NOT_FOUND, "unknown service"),
        "Check" => one(&mut operation, framed(&state(known, &health.borrow()))),
        "List" => one(&mut operation, framed(&list(&health.borrow()))),
        _ => Body::Watch(Box::new(Watch { changes: Box::pin(changes(known, health)), operation, ended: false })),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn refuse(operation: &mut Operation, code: u32, why: &str) -> Response<Body> {
    operation.because(why);
    operation.finish(End::Grpc(code));
    reply::grpc_status(code, why)
}

fn one(operation: &mut Operation, message: Bytes) -> Body {
    operation.response_bytes = message.len() as u64;
    // Health is answered even while the audit log can't be written.
    operation.finish(End::Grpc(status::OK));
    Body::Message(Some(message), Some(Box::new(reply::trailers(status::OK, ""))))
}

/// The service name in the request: field 1 of its only message.
async fn asked(request: Request<Incoming>) -> Result<String, &'static str> {
    let body = Limited::new(request.into_body(), REQUEST).collect().await.map_err(|_| "unreadable health request")?;
    let bytes = body.to_bytes();
    let message = match bytes.split_first_chunk::<5>() {
        Some(([0, ..], message)) => message.to_vec(),
        Some((_, message)) => inflated(message)?,
        None => return Ok(String::new()),
    };
    match message.as_slice() {
        [] => Ok(String::new()),
        [0x0a, length, name @ ..] if usize::from(*length) == name.len() && *length < 128 => {
            String::from_utf8(name.to_vec()).map_err(|_| "the service name is not UTF-8")
        }
        _ => Err("unreadable health request"),
    }
}

/// A message compressed by gzip, which the Temporal CLI uses for every call; no other encoding is offered.
fn inflated(message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut plain = Vec::new();
    let limit = REQUEST as u64 + 1;
    let read = GzDecoder::new(message).take(limit).read_to_end(&mut plain);
    match read {
        Ok(length) if (length as u64) < limit => Ok(plain),
        _ => Err("unreadable gzip in the health request"),
    }
}

fn serving(known: bool, parts: &Parts) -> Serving {
    match (known, parts.reason()) {
        (false, _) => Serving::Unknown,
        (true, None) => Serving::Yes,
        (true, Some(_)) => Serving::No,
    }
}

/// A `HealthCheckResponse`.
fn state(known: bool, parts: &Parts) -> [u8; 2] {
    [0x08, serving(known, parts) as u8]
}

/// A `HealthListResponse`: map entries of name and `HealthCheckResponse`.
fn list(parts: &Parts) -> Vec<u8> {
    let entry = |name: &str| {
        let length = |bytes: usize| u8::try_from(bytes).unwrap_or(0);
        let mut entry = vec![0x0a, length(name.len() + 6), 0x0a, length(name.len())];
        entry.extend_from_slice(name.as_bytes());
        entry.extend_from_slice(&[0x12, 2]);
        entry.extend_from_slice(&state(true, parts));
        entry
    };
    NAMES.iter().flat_map(|name| entry(name)).collect()
}

/// One uncompressed gRPC message.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The state now and at each change, until the gateway stops.
fn changes(known: bool, health: watch::Receiver<Parts>) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((health, None, false), move |(mut health, last, stopping)| async move {
        if stopping {
            return None;
        }
        loop {
            let (now, stopping) = {
                let parts = health.borrow_and_update();
                (state(known, &parts), parts.phase == Phase::Stopping)
            };
            if last != Some(now) {
                return Some((framed(&now), (health, Some(now), stopping)));
            }
            if stopping || health.changed().await.is_err() {
                return None;
            }
        }
    })
}

impl Watch {
    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(message) = ready!(self.changes.as_mut().poll_next(cx)) else {
            self.ended = true;
            self.operation.finish(End::Grpc(status::UNAVAILABLE));
            return Poll::Ready(Some(Frame::trailers(reply::trailers(status::UNAVAILABLE, "the gateway is stopping"))));
        };
        self.operation.response_bytes += message.len() as u64;
        Poll::Ready(Some(Frame::data(message)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_compressed_request_is_read() {
        assert_eq!(inflated(&gzip(b"\x0a\x01x")), Ok(b"\x0a\x01x".to_vec()));
    }

    #[test]
    fn a_gzip_bomb_and_garbage_are_refused() {
        assert!(inflated(&gzip(&vec![0; 1 << 20])).is_err());
        assert_eq!(inflated(b"no gzip"), Err("unreadable gzip in the health request"));
    }
}
