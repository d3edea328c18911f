//! One call through the gateway: streamed both ways, never sent twice, changed in nothing a client can notice.

pub(super) mod deadline;
mod pump;
mod relay;
mod upload;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{HeaderValue, Request, Response, Uri, header::HOST, request::Parts};
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

pub(super) use relay::Relay;
pub(super) use upload::Upload;

use self::{pump::Pump, relay::AbortOnDrop};
use super::{
    metrics::Limit,
    operation::{End, Operation},
    reply::{self, Body, status},
    running::Stay,
    upstream::{Connector, Lease, Pool, Unreachable},
};

/// How long after its own deadline a call that the upstream did not end is ended here.
const GRACE: Duration = Duration::from_secs(2);
/// What a client reads when the upstream fails under a call that was sent.
const BROKEN: &str = "the connection to the Temporal frontend failed during the call";

/// Where a call goes.
pub(super) struct Route<'a> {
    /// This worker's connections.
    pub pool: &'a Arc<Pool>,
    /// How they are made.
    pub connector: &'a Arc<Connector>,
    /// How long an unsent call waits for one.
    pub wait: Duration,
    /// Set for a long poll: it does not hold up a stop, which this tells.
    pub stopping: Option<watch::Receiver<bool>>,
}

/// Why a call ended without an answer of the upstream's.
enum Failure {
    Unreachable(Unreachable),
    Broken(h2::Error),
    Late,
    /// A long poll, and the gateway stops.
    Stopping,
    /// The token is no longer good, and why.
    Ended(String),
}

/// An answer that began.
struct Answer {
    response: Response<RecvStream>,
    pump: Option<Pump>,
    lease: Lease,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Forwards one call and answers it.
pub(super) async fn forward(route: Route<'_>, request: Request<Upload>, mut operation: Operation) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let ended = ended(operation.stay().map(Stay::ended));
    let exchanged = tokio::select! {
        biased;
        why = ended => Err(Failure::Ended(why)),
        exchanged = exchange(&route, Box::new(parts), body, &mut operation) => exchanged,
        () = stopping(route.stopping.clone()) => Err(Failure::Stopping),
    };
    match exchanged {
        Ok(answer) => relayed(answer, operation).await,
        Err(failure) => {
            let (code, message) = failure.told();
            if matches!(failure, Failure::Unreachable(Unreachable::Full)) {
                operation.hit(Limit::Upstream);
            }
            operation.because(failure.reason());
            finished(&mut operation, code).await;
            reply::grpc_status(code, &message)
        }
    }
}

/// Returns when the gateway stops; never for a call that may finish first.
async fn stopping(told: Option<watch::Receiver<bool>>) {
    match told {
        Some(mut told) => drop(told.wait_for(|stopping| *stopping).await),
        None => std::future::pending().await,
    }
}

/// Waits until the call's token is no longer good.
async fn ended(told: Option<impl Future<Output = String>>) -> String {
    match told {
        Some(told) => told.await,
        None => std::future::pending().await,
    }
}

/// Writes the record and waits for it.
pub(super) async fn finished(operation: &mut Operation, code: u32) {
    if let Some(written) = operation.finish(End::Grpc(code)) {
        written.await;
    }
}

async fn exchange(
    route: &Route<'_>,
    mut parts: Box<Parts>,
    mut body: Upload,
    operation: &mut Operation,
) -> Result<Answer, Failure> {
    let start = Instant::now();
    let own = deadline::of(&parts.headers);
    let patience = start + own.map_or(route.wait, |own| own.min(route.wait));
    let mut timer = own.map(|own| Box::pin(tokio::time::sleep_until(start + own + GRACE)));
    loop {
        let asked = Instant::now();
        let mut lease = route.pool.acquire(route.connector, patience).await.map_err(Failure::Unreachable)?;
        let ready = Instant::now();
        let ended = body.is_end_stream();
        let (response, send) = match lease.send.send_request(head(&parts, &lease.connector), ended) {
            Ok(streams) => streams,
            // Not even queued: another connection may take it, unless it is the request that h2 does not take.
            Err(error) if is_of_connection(&error) && Instant::now() < patience => continue,
            Err(error) => return Err(Failure::Broken(error)),
        };
        operation.sent(asked.into_std(), ready.into_std());
        let mut pump = (!ended).then(|| Pump::new(body, send, operation, parts));
        match answer(response, &mut pump, timer.as_mut()).await? {
            Ok(response) => return Ok(Answer { response, pump, lease, timer }),
            Err(error) => match pump.and_then(Pump::untouched) {
                Some(unread) if is_unprocessed(&error) && Instant::now() < patience => (parts, body) = unread,
                _ => return Err(Failure::Broken(error)),
            },
        }
        timer = own.map(|own| Box::pin(tokio::time::sleep_until(start + own + GRACE)));
    }
}

/// Waits for the answer's head while the request flows.
async fn answer(
    mut response: ResponseFuture,
    pump: &mut Option<Pump>,
    mut timer: Option<&mut Pin<Box<Sleep>>>,
) -> Result<Result<Response<RecvStream>, h2::Error>, Failure> {
    let mut flowing = pump.is_some();
    let head = poll_fn(|cx| {
        if let Some(pump) = pump.as_mut().filter(|_| flowing) {
            flowing = Pin::new(pump).poll(cx).is_pending();
        }
        if let Poll::Ready(head) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(Ok(head));
        }
        match timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Failure::Late)),
            _ => Poll::Pending,
        }
    })
    .await;
    if !flowing && matches!(head, Ok(Ok(_))) {
        *pump = None;
    }
    head
}

async fn relayed(answer: Answer, mut operation: Operation) -> Response<Body> {
    let (head, recv) = answer.response.into_parts();
    let body = if recv.is_end_stream() {
        finished(&mut operation, reply::status_of(&head.headers).unwrap_or(status::UNKNOWN)).await;
        operation.answered();
        Body::Empty
    } else {
        let pump = answer.pump.map(|pump| AbortOnDrop(tokio::spawn(pump).abort_handle()));
        Body::Relay(Box::new(Relay::new(recv, operation, answer.timer, pump, answer.lease)))
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The request's head for the upstream: everything as it came but where it goes.
fn head(parts: &Parts, connector: &Connector) -> Request<()> {
    let mut request = Request::new(());
    let path = parts.uri.path_and_query().cloned();
    let mut target = http::uri::Parts::default();
    target.scheme = Some(connector.scheme.clone());
    target.authority = Some(connector.authority.clone());
    target.path_and_query = path;
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = parts.headers.clone();
    request.headers_mut().remove(HOST);
    request
}

/// Whether a stream could not be opened because of its connection.
fn is_of_connection(error: &h2::Error) -> bool {
    error.is_go_away() || error.is_io() || error.is_reset()
}

/// Whether the upstream says that it never looked at the stream (RFC 9113 §6.8, §8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && ((error.is_go_away() && reason == Some(Reason::NO_ERROR))
            || (error.is_reset() && reason == Some(Reason::REFUSED_STREAM)))
}

impl Failure {
    /// What the client is told: fixed words, whatever the upstream's error was.
    fn told(&self) -> (u32, String) {
        match self {
            Self::Unreachable(Unreachable::Full) => {
                (status::RESOURCE_EXHAUSTED, "the gateway's connections to Temporal are full".to_owned())
            }
            Self::Unreachable(Unreachable::Closed) => (status::UNAVAILABLE, "the gateway is stopping".to_owned()),
            Self::Unreachable(Unreachable::Down(_)) => {
                (status::UNAVAILABLE, "the Temporal frontend cannot be reached".to_owned())
            }
            Self::Broken(_) => (status::UNAVAILABLE, BROKEN.to_owned()),
            Self::Late => (status::DEADLINE_EXCEEDED, "the call's own deadline passed".to_owned()),
            Self::Stopping => (status::UNAVAILABLE, "the gateway is stopping: poll again".to_owned()),
            Self::Ended(why) => (status::UNAUTHENTICATED, why.clone()),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Unreachable(why) => why.to_string(),
            Self::Broken(error) => format!("broken off by the upstream: {error}"),
            Self::Late => "the call's own deadline passed".to_owned(),
            Self::Stopping => "a long poll, ended because the gateway stops".to_owned(),
            Self::Ended(why) => format!("ended under way: {why}"),
        }
    }
}

/// The head of a call of the gateway's own to WorkflowService.
pub(super) fn own_request(lease: &Lease, method: &str) -> Request<()> {
    let Connector { scheme, authority, .. } = &*lease.connector;
    let uri = format!("{scheme}://{authority}/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.parse().unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("grpc-timeout", HeaderValue::from_static("5S"));
    headers.insert("user-agent", HeaderValue::from_static("temporal-warden"));
    request
}

/// One unary call of the gateway's own: gRPC status, its message, and the frames of the answer.
pub(super) async fn unary(
    lease: &mut Lease,
    request: Request<()>,
    message: Bytes,
) -> Result<(u32, String, Bytes), h2::Error> {
    let (response, mut send) = lease.send.send_request(request, false)?;
    send.send_data(message, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut frames = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        frames.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let found = |name: &str| trailers.get(name).or(head.headers.get(name)).and_then(|v| v.to_str().ok());
    let code = found("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(status::UNKNOWN);
    Ok((code, found("grpc-message").unwrap_or_default().to_owned(), frames.freeze()))
}
