//! What happens to one request: classified, decided, recorded, and answered here or forwarded.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use h2::Reason;
use http::{HeaderMap, Method as Verb, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    audit::Recorder,
    authenticate::{Bad, Presented},
    authorize::{self, Caller, Refusal, Token, Verdict},
    guest::{EVICTED, Guest},
    health, health_service,
    issuer::Outcome,
    methods::{Access, Method, Wait},
    metrics::{Denial, Limit, Tally},
    narrow::Narrow,
    operation::{End, Operation},
    proxy::{self, Onward, Route, Upload},
    reply::{self, Body, status},
    running::Running,
    serving::{Serving, Shared},
    unread::Unread,
    upstream::Pool,
};
use crate::{clock, config::AuthMode, tokens::Verified};

/// Service name of the health checks.
const HEALTH: &str = "grpc.health.v1.Health";
/// Most bytes of headers of one call: a token of 8 KiB and much metadata.
pub(super) const HEADERS: u32 = 32 << 10;
/// Most bytes of a body that nobody wants.
const IGNORED: usize = 64 << 10;
/// And how long for them.
const IGNORED_FOR: Duration = Duration::from_secs(2);
/// A call that is refused has sent its message after so long, or its client waits for the answer first.
const SENT_WITHIN: Duration = Duration::from_millis(500);
/// Headers by which a server names a caller to the next; a client's own are never passed on.
const IDENTITY: &str = "temporal-principal-";

/// A worker's view.
pub(super) struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's upstream connections.
    pub pool: Arc<Pool>,
    /// This worker's calls under way.
    pub running: Arc<Running>,
    /// The audit log, as this worker writes to it.
    pub recorder: Recorder,
    /// What this worker counts.
    pub tally: Arc<Tally>,
    /// What its clients have not read.
    pub unread: Arc<Unread>,
}

/// What becomes of one gRPC call.
enum Decided {
    Answered(Box<Response<Body>>),
    Goes(Box<Onward>),
    /// Refused before anything was done with it, so that its client may send it again (RFC 9113 §8.7).
    Unprocessed,
}

/// An answer on its way. On the heap: hyper moves the future of a call several times before it runs.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, h2::Error>> + Send>>;

/// Serves one request.
pub(super) fn serve(worker: Arc<Worker>, guest: Arc<Guest>, mut request: Request<Incoming>) -> Answer {
    let serving = worker.shared.serving.load_full();
    if !is_grpc(&request) {
        return Box::pin(async move {
            // When the rest of it turns out malformed, HTTP/2 answers it, not we.
            ignore(request.body_mut(), IGNORED_FOR).await;
            Ok(plain(&worker, &serving, guest, &request))
        });
    }
    // Two futures: what the decision takes is not held by a poll that waits for a minute.
    let deciding = Box::pin(decide(worker, serving, guest, request));
    Box::pin(async move {
        match deciding.await {
            Decided::Answered(response) => Ok(*response),
            Decided::Goes(call) => Ok(proxy::forward(call).await),
            Decided::Unprocessed => Err(Reason::REFUSED_STREAM.into()),
        }
    })
}

/// Reads a body that nobody wants: so much and so long of it.
async fn ignore(body: &mut Incoming, limit: Duration) {
    let mut body = Limited::new(body, IGNORED);
    let _ = timeout(limit, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    request.method() == Verb::POST
        && request.version() == Version::HTTP_2
        && matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// `/health`, and what is neither that nor gRPC.
fn plain(worker: &Worker, serving: &Serving, guest: Arc<Guest>, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let what = format!("{} {path}", request.method()).into();
    let slot = worker.recorder.reserve_now();
    let mut operation = Operation::new(slot, guest, ("http".into(), what), request.headers(), clock::now());
    let readable = matches!(*request.method(), Verb::GET | Verb::HEAD);
    let response = match path {
        "/health" if readable => {
            let parts = worker.shared.health.borrow().clone();
            let (good, document) = health::document(&parts, serving, &worker.shared);
            let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            reply::http(code, "application/json", document)
        }
        "/health" => reply::http(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD\n"),
        _ if request.method() == Verb::POST => {
            reply::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain", "gRPC over HTTP/2, or GET /health\n")
        }
        _ => reply::http(StatusCode::NOT_FOUND, "text/plain", "gRPC over HTTP/2, or GET /health\n"),
    };
    operation.finish(End::Http(response.status().as_u16()));
    if request.method() == Verb::HEAD { reply::without_body(response) } else { response }
}

/// Decides on one gRPC call.
async fn decide(
    worker: Arc<Worker>,
    mut serving: Arc<Serving>,
    guest: Arc<Guest>,
    request: Request<Incoming>,
) -> Decided {
    let path = request.uri().path().to_owned();
    let shared = &worker.shared;
    let (seat, fits) = guest.seat(shared.hello.max_streams);
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or(("", &path));
    let slot = match worker.recorder.reserve().await {
        Ok(slot) => slot,
        Err(_) if service == HEALTH => worker.recorder.reserve_now(),
        Err(failing) => {
            worker.tally.denied(Denial::Audit);
            return answered(reply::grpc_status(status::UNAVAILABLE, &failing.to_string()));
        }
    };
    let now = clock::now();
    let number = Method::number(&path);
    let row = number.map(Method::at);
    let mut operation = Operation::new(slot, guest.clone(), names(row, service, method), request.headers(), now);
    operation.counts(seat, number);
    if !fits {
        let most = shared.hello.max_streams;
        let why = format!("{most} calls are open on this connection, the most there may be (WARDEN_MAX_STREAMS)");
        return over(Limit::Streams, why, operation).await;
    }
    let size = size_of_headers(request.headers());
    if size > HEADERS as usize {
        let why = format!("headers of {size} bytes; at most {HEADERS} are served");
        return over(Limit::HeaderList, why, operation).await;
    }
    operation.reads(row, request.headers());
    let mut presented = guest.last.present((&serving.authenticator, serving.edition), request.headers(), now);
    if matches!(presented, Presented::Undecided(_)) && row.is_none_or(|row| row.access != Access::Open) {
        (serving, presented) = with_newer_keys(shared, &guest, request.headers()).await;
    }
    let identity = guest.peer.identity.as_ref();
    let caller = Caller {
        presented: &presented,
        certificate: identity.map(|identity| &identity.proof),
        revoked: identity.is_some_and(|identity| serving.authenticator.is_revoked(&identity.serial)),
    };
    let verdict = authorize::judge(&serving.policy, row, &path, caller);
    let held = presented.token().cloned();
    operation.called_by(held.clone());
    let mut token = match verdict {
        Verdict::Deny(Refusal::Revoked) => return turn_away(operation, &guest).await,
        Verdict::Deny(refusal) => {
            if matches!(presented, Presented::Refused(_)) {
                guest.brought_bad_token(Instant::now());
            }
            return deny(operation, &refusal, request.into_body()).await;
        }
        Verdict::Allow { token, reported } => {
            if let Some(refusal) = reported {
                operation.because(format!("would be refused: {refusal}"));
            }
            token
        }
    };
    if service == HEALTH && row.is_some() {
        let health = shared.health.clone();
        return answered(health_service::answer(method, request, health, operation).await);
    }
    let polls = row.is_some_and(|row| row.wait == Wait::Always);
    if held.is_some() || polls {
        operation.stays(worker.running.enter(held, polls, &serving, shared));
    }
    let mut request = request.map(Upload::from);
    if let Some(names) = bound(&serving, token, row, &presented) {
        let narrow = Narrow { worker: &worker, serving: &serving, names, row, path: &path };
        if let Err(refusal) = narrowed(&narrow, &mut request, &mut operation).await {
            match serving.policy.mode {
                AuthMode::Enforce => return deny(operation, &refusal, request.into_body().rest()).await,
                AuthMode::Report => {
                    operation.because(format!("would be refused: {refusal}"));
                    token = Token::Override;
                }
            }
        }
    }
    prepare(request.headers_mut(), &serving, token, (presented.token(), row));
    let wait = Duration::from_millis(shared.hello.upstream_wait_ms);
    let route = Route { pool: worker.pool.clone(), connector: serving.connector.clone(), wait };
    Decided::Goes(Onward::new(route, request, operation))
}

/// What the call brings once the external issuer has been asked for a key that is not at hand, and by what it was judged.
async fn with_newer_keys(shared: &Shared, guest: &Guest, headers: &HeaderMap) -> (Arc<Serving>, Presented) {
    let outcome = match &shared.issuer {
        Some(issuer) => issuer.refreshed().await,
        None => Outcome::Unknown("they are fetched only after a restart of the gateway".to_owned()),
    };
    let serving = shared.serving.load_full();
    let presented =
        match (guest.last.present((&serving.authenticator, serving.edition), headers, clock::now()), outcome) {
            // The issuer has no such key.
            (Presented::Undecided(bad), Outcome::Fresh) if bad.class != Denial::Undecided => Presented::Refused(bad),
            (Presented::Undecided(_), Outcome::Unknown(why)) => Presented::Undecided(Bad::without_keys(why)),
            (decided, _) => decided,
        };
    (serving, presented)
}

/// The namespaces to which the call's token is limited; `None` where it is judged without them.
fn bound<'a>(serving: &Serving, token: Token, row: Option<&Method>, presented: &'a Presented) -> Option<&'a [String]> {
    let open = row.is_some_and(|row| row.access == Access::Open);
    let judged = serving.policy.enabled && token == Token::Keep && !open;
    presented.token().filter(|_| judged)?.namespaces.as_deref()
}

/// Reads the first message and judges it, unless the token is refused meanwhile.
async fn narrowed(
    narrow: &Narrow<'_>,
    request: &mut Request<Upload>,
    operation: &mut Operation,
) -> Result<(), Refusal> {
    let headers = request.headers().clone();
    let judged = narrow.judge(&headers, request.body_mut());
    let (reach, verdict) = match operation.stay() {
        Some(stay) => tokio::select! {
            biased;
            () = stay.ended() => return Ok(()),
            judged = judged => judged,
        },
        None => judged.await,
    };
    if let Some(reach) = reach {
        operation.was_read(reach.reading);
    }
    verdict
}

fn answered(response: Response<Body>) -> Decided {
    Decided::Answered(Box::new(response))
}

/// Counts the refusal and puts it on record.
async fn refused(operation: &mut Operation, refusal: &Refusal) {
    operation.denied(refusal.class(), refusal);
    proxy::finished(operation, refusal.status()).await;
}

/// Answers when the call's message has come, as grpc-go does: curl fails where the answer overtakes what it sends.
async fn deny(mut operation: Box<Operation>, refusal: &Refusal, mut rest: Incoming) -> Decided {
    refused(&mut operation, refusal).await;
    ignore(&mut rest, SENT_WITHIN).await;
    answered(reply::grpc_status(refusal.status(), &refusal.to_string()))
}

/// The connection's certificate was revoked. The refusal follows the GOAWAY, or the client would send the call again
/// where it came from.
async fn turn_away(mut operation: Box<Operation>, guest: &Guest) -> Decided {
    refused(&mut operation, &Refusal::Revoked).await;
    let _ = timeout(EVICTED, guest.leaves.wait()).await;
    Decided::Unprocessed
}

/// The call is over a limit.
async fn over(limit: Limit, why: String, mut operation: Box<Operation>) -> Decided {
    operation.hit(limit);
    operation.denied(Denial::Limit, &why);
    proxy::finished(&mut operation, status::RESOURCE_EXHAUSTED).await;
    answered(reply::grpc_status(status::RESOURCE_EXHAUSTED, &why))
}

/// Service and method for the record; those of the table need no copy.
fn names(row: Option<&'static Method>, service: &str, method: &str) -> (Cow<'static, str>, Cow<'static, str>) {
    match row {
        Some(row) => (row.service.into(), row.name.into()),
        None => (service.to_owned().into(), method.to_owned().into()),
    }
}

/// As HTTP/2 counts a header list (RFC 9113 §6.5.2).
fn size_of_headers(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Takes out what a client must not say, and what the upstream would refuse.
fn prepare(
    headers: &mut HeaderMap,
    serving: &Serving,
    token: Token,
    (held, row): (Option<&Arc<Verified>>, Option<&Method>),
) {
    let claimed: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(IDENTITY)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    match token {
        Token::Keep => {
            // Temporal does not know the issuer; where nothing can be signed, nobody checks, or it is a frontend of yours.
            if let (Some(token), Some(signer)) = (held.filter(|token| token.issuer.is_some()), &serving.signer) {
                let reads = row.is_some_and(Method::reads);
                headers.remove(header::AUTHORIZATION);
                headers.extend(signer.on_behalf(token, reads, clock::now()).map(|own| (header::AUTHORIZATION, own)));
            }
        }
        Token::Remove => {
            headers.remove(header::AUTHORIZATION);
        }
        Token::Override => {
            let signer = serving.signer.as_ref();
            if let Some(own) = signer.and_then(|signer| signer.override_for(held.map(|held| &**held), clock::now())) {
                headers.insert(header::AUTHORIZATION, own);
            }
        }
    }
}
