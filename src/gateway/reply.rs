//! Answers of the gateway's own, and the one body type every answer has.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::{Frame, SizeHint};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{health_service::Watch, proxy::Relay};

/// gRPC status codes the gateway itself gives.
pub(super) mod status {
    pub(in crate::gateway) const OK: u32 = 0;
    pub(in crate::gateway) const CANCELLED: u32 = 1;
    pub(in crate::gateway) const UNKNOWN: u32 = 2;
    pub(in crate::gateway) const DEADLINE_EXCEEDED: u32 = 4;
    pub(in crate::gateway) const NOT_FOUND: u32 = 5;
    pub(in crate::gateway) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(in crate::gateway) const UNAVAILABLE: u32 = 14;
    pub(in crate::gateway) const UNAUTHENTICATED: u32 = 16;
}

/// `grpc-status`.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// gRPC's `Status-Message`: printable ASCII but the percent sign stays as it is.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Body of every answer.
pub(super) enum Body {
    /// Nothing: headers end the stream.
    Empty,
    /// One piece of known length.
    Text(Option<Bytes>),
    /// One message and trailers.
    Message(Option<Bytes>, Option<Box<HeaderMap>>),
    /// The upstream's answer.
    Relay(Box<Relay>),
    /// Health over time.
    Watch(Box<Watch>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match self.get_mut() {
            Self::Empty => None,
            Self::Text(text) => text.take().map(Frame::data),
            Self::Message(data, trailers) => {
                data.take().map(Frame::data).or_else(|| trailers.take().map(|trailers| Frame::trailers(*trailers)))
            }
            Self::Relay(relay) => std::task::ready!(relay.poll_frame(cx)),
            Self::Watch(watch) => std::task::ready!(watch.poll_frame(cx)),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Text(None) | Self::Message(None, None) => true,
            Self::Relay(relay) => relay.is_done(),
            Self::Text(_) | Self::Message(..) | Self::Watch(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Text(None) => SizeHint::with_exact(0),
            Self::Text(Some(text)) => SizeHint::with_exact(text.len() as u64),
            Self::Message(..) | Self::Relay(_) | Self::Watch(_) => SizeHint::default(),
        }
    }
}

/// `grpc-status` and `grpc-message` as trailers.
pub(super) fn trailers(code: u32, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from(code));
    if !message.is_empty() {
        let encoded = utf8_percent_encode(message, MESSAGE).to_string();
        trailers.extend(HeaderValue::try_from(encoded).ok().map(|value| (GRPC_MESSAGE, value)));
    }
    trailers
}

/// A trailers-only answer: everything in the one header frame.
pub(super) fn grpc_status(code: u32, message: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.headers_mut() = trailers(code, message);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The status an upstream wrote into headers or trailers.
pub(super) fn status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// The same answer without its body, as HEAD asks for it: hyper leaves that to us in HTTP/2.
pub(super) fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Body::Text(Some(text)) = response.body() {
        let length = HeaderValue::from(text.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
        *response.body_mut() = Body::Empty;
    }
    response
}

/// A plain HTTP answer.
pub(super) fn http(code: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Text(Some(text.into())));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if code == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded_and_spaces_stay() {
        let sent = trailers(16, "Unauthorized: 100% „late“\n");
        assert_eq!(sent[GRPC_MESSAGE], "Unauthorized: 100%25 %E2%80%9Elate%E2%80%9C%0A");
        assert_eq!(status_of(&sent), Some(16));
    }

    #[test]
    fn a_refusal_is_one_header_frame() {
        use http_body::Body as _;
        let refusal = grpc_status(7, "Forbidden: no");
        assert!(refusal.body().is_end_stream());
        assert_eq!(
            (refusal.status(), &refusal.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &HeaderValue::from_static("application/grpc"))
        );
    }
}
