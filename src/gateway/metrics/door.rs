//! The metrics' own door: plain HTTP/1.1 on the socket PID 1 opened, on a thread off the workers.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, thread, time::Duration};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use super::exposition;
use crate::gateway::{
    reply::{self, Body},
    serving::Shared,
};

/// Conversations at once; a scraper needs one.
const MOST: usize = 16;
/// Longest conversation: a scrape takes milliseconds, a connection kept alive is opened anew.
const LIMIT: Duration = Duration::from_secs(120);
/// Time for a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// Pause after an error of `accept`.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts the thread; it ends with the process.
pub(in crate::gateway) fn open(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(accept(listener, shared));
    thread::Builder::new().name("metrics".to_owned()).spawn(run).map(drop)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Over the limit it is closed at once.
        if let Ok(place) = places.clone().try_acquire_owned() {
            let shared = shared.clone();
            tokio::spawn(async move {
                let _ = timeout(LIMIT, converse(tcp, shared)).await;
                drop(place);
            });
        }
    }
}

async fn converse(tcp: TcpStream, shared: Arc<Shared>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let answer = answer(&request, &shared);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(16 << 10);
    builder.serve_connection(TokioIo::new(tcp), service).await
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Body> {
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => {
            reply::http(StatusCode::OK, exposition::CONTENT_TYPE, exposition::text(shared))
        }
        ("/metrics", _) => reply::http(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET or HEAD\n"),
        _ => reply::http(StatusCode::NOT_FOUND, "text/plain", "GET /metrics\n"),
    }
}
