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

use futures_util::FutureExt;
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{Request, Response, Uri, header::HOST, request::Parts};
use tokio::time::{Instant, Sleep};

pub(super) use relay::Relay;
pub(super) use upload::Upload;

use self::{pump::Pump, relay::AbortOnDrop};
use super::{
    metrics::Limit,
    operation::{End, Operation},
    reply::{self, Body, status},
    running::{Over, Stay},
    upstream::{Connector, Lease, Pool, Unreachable},
};

/// How long after its own deadline a call that the upstream did not end is ended here.
const GRACE: Duration = Duration::from_secs(2);
/// What a client reads when the upstream fails under a call that was sent.
const BROKEN: &str = "the connection to the Temporal frontend failed during the call";

/// Where a call goes.
pub(super) struct Route {
    /// This worker's connections.
    pub pool: Arc<Pool>,
    /// How they are made.
    pub connector: Arc<Connector>,
    /// How long an unsent call waits for one.
    pub wait: Duration,
}

/// A call that was decided, on its way.
pub(super) struct Onward {
    route: Route,
    /// Head and body, until the body is being sent.
    unsent: Option<(Box<Parts>, Upload)>,
    operation: Box<Operation>,
}

impl Onward {
    /// Nothing was sent yet. On the heap, as all that goes from hand to hand here.
    pub(super) fn new(route: Route, request: Request<Upload>, operation: Box<Operation>) -> Box<Self> {
        let (parts, body) = request.into_parts();
        Box::new(Self { route, unsent: Some((Box::new(parts), body)), operation })
    }

    /// Opens a stream at `lease`, for which was asked at `asked`. `None` when it was not even queued and another
    /// connection may take it.
    fn sent(&mut self, lease: &mut Lease, asked: Instant, patience: Instant) -> Result<Option<Sent>, Failure> {
        let ready = Instant::now();
        let Some((parts, mut body)) = self.unsent.take() else { return Err(Failure::Broken(Reason::CANCEL.into())) };
        // As the head said it: grpc-go waits for ever for the end of a request whose head is made to end it.
        let ended = body.is_end_stream();
        // Nearly always the first frame is there already. It goes at once, and then the call is not sent again: no copy
        // of its head is kept.
        if !ended && let Some(Err(_)) = body.read_ahead().now_or_never() {
            return Err(Failure::Broken(Reason::CANCEL.into()));
        }
        let (head, spare) = match body.seen() {
            [] => (head(&parts, &lease.connector), Some(parts)),
            _ => (sole_head(*parts, &lease.connector), None),
        };
        match (lease.send.send_request(head, ended), spare) {
            (Ok((response, send)), spare) => {
                self.operation.sent(asked.into_std(), ready.into_std());
                let pump = (!ended).then(|| Box::new(Pump::new(body, send, &self.operation, spare)));
                Ok(Some((response, pump)))
            }
            // Unless it is the request that h2 does not take.
            (Err(error), Some(parts)) if is_of_connection(&error) && ready < patience => {
                self.unsent = Some((parts, body));
                Ok(None)
            }
            (Err(error), _) => Err(Failure::Broken(error)),
        }
    }
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

/// What gives the answer, and what sends the rest of the request.
type Sent = (ResponseFuture, Option<Box<Pump>>);

/// An answer that began.
struct Answer {
    response: Response<RecvStream>,
    pump: Option<Box<Pump>>,
    lease: Lease,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Forwards one call and answers it.
pub(super) async fn forward(mut call: Box<Onward>) -> Response<Body> {
    let over = over(call.operation.stay().map(Stay::over));
    let exchanged = tokio::select! {
        biased;
        why = over => Err(why),
        exchanged = exchange(&mut call) => exchanged,
    };
    match exchanged {
        Ok(answer) => relayed(answer, call.operation).await,
        Err(failure) => failed(failure, call.operation).await,
    }
}

async fn failed(failure: Failure, mut operation: Box<Operation>) -> Response<Body> {
    let (code, message) = failure.told();
    if matches!(failure, Failure::Unreachable(Unreachable::Full)) {
        operation.hit(Limit::Upstream);
    }
    operation.because(failure.reason());
    finished(&mut operation, code).await;
    reply::grpc_status(code, &message)
}

/// Waits until the call may not go on: its token is no longer good, or it is a long poll and the gateway stops.
async fn over(told: Option<impl Future<Output = Over>>) -> Failure {
    match told {
        Some(told) => match told.await {
            Over::Ended(why) => Failure::Ended(why),
            Over::Stopping => Failure::Stopping,
        },
        None => std::future::pending().await,
    }
}

/// Writes the record and waits for it.
pub(super) async fn finished(operation: &mut Operation, code: u32) {
    if let Some(written) = operation.finish(End::Grpc(code)) {
        written.await;
    }
}

async fn exchange(call: &mut Onward) -> Result<Box<Answer>, Failure> {
    let start = Instant::now();
    let own = call.unsent.as_ref().and_then(|(parts, _)| deadline::of(&parts.headers));
    let patience = start + own.map_or(call.route.wait, |own| own.min(call.route.wait));
    let mut timer = own.map(|own| Box::pin(tokio::time::sleep_until(start + own + GRACE)));
    loop {
        let asked = Instant::now();
        let mut lease = call.route.pool.acquire(&call.route.connector, patience).await.map_err(Failure::Unreachable)?;
        let Some((response, mut pump)) = call.sent(&mut lease, asked, patience)? else { continue };
        match answer(response, &mut pump, timer.as_mut()).await? {
            Ok(response) => return Ok(Box::new(Answer { response, pump, lease, timer })),
            Err(error) => match pump.and_then(|pump| pump.untouched()) {
                Some(unread) if is_unprocessed(&error) && Instant::now() < patience => call.unsent = Some(unread),
                _ => return Err(Failure::Broken(error)),
            },
        }
    }
}

/// Waits for the answer's head while the request flows.
async fn answer(
    mut response: ResponseFuture,
    pump: &mut Option<Box<Pump>>,
    mut timer: Option<&mut Pin<Box<Sleep>>>,
) -> Result<Result<Response<RecvStream>, h2::Error>, Failure> {
    poll_fn(|cx| {
        // A request that has gone is not held while its answer is awaited.
        pump.take_if(|pump| Pin::new(pump.as_mut()).poll(cx).is_ready());
        if let Poll::Ready(head) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(Ok(head));
        }
        match timer.as_mut().map(|timer| timer.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Failure::Late)),
            _ => Poll::Pending,
        }
    })
    .await
}

async fn relayed(answer: Box<Answer>, mut operation: Box<Operation>) -> Response<Body> {
    let Answer { response, pump, lease, timer } = *answer;
    let (head, recv) = response.into_parts();
    let body = if recv.is_end_stream() {
        finished(&mut operation, reply::status_of(&head.headers).unwrap_or(status::UNKNOWN)).await;
        operation.answered();
        Body::Empty
    } else {
        let pump = pump.map(|pump| AbortOnDrop(tokio::spawn(pump).abort_handle()));
        let mut relay = Box::new(Relay::new(recv, operation, timer, pump, lease));
        relay.gather().await;
        Body::Relay(relay)
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The request's head for the upstream: everything as it came but where it goes.
fn head(parts: &Parts, connector: &Connector) -> Request<()> {
    let (mut own, ()) = Request::new(()).into_parts();
    (own.method, own.uri, own.headers) = (parts.method.clone(), parts.uri.clone(), parts.headers.clone());
    sole_head(own, connector)
}

/// The same of a head that is needed only once.
fn sole_head(mut parts: Parts, connector: &Connector) -> Request<()> {
    let mut target = std::mem::take(&mut parts.uri).into_parts();
    target.scheme = Some(connector.scheme.clone());
    target.authority = Some(connector.authority.clone());
    parts.uri = Uri::from_parts(target).unwrap_or_default();
    parts.version = http::Version::HTTP_2;
    parts.headers.remove(HOST);
    // What hyper keeps there is for its own use.
    parts.extensions.clear();
    Request::from_parts(parts, ())
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
