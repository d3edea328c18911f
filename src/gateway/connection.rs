//! One client connection: handshake, protocol, service, and its end when its certificate no longer gets in.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::HeaderMap;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::UnixTime;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    guest::{EVICTED, Guest},
    identity::{Identity, Peer},
    metrics::{HandshakeFailure, Limit},
    operation::{End, Operation},
    service::{HEADERS, Worker, serve},
    stream::Client,
    tls::ServerSide,
};
use crate::clock;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client has for its first request or its HTTP/2 preface.
const FIRST: Duration = Duration::from_secs(10);
/// Streams beyond the cap that are answered instead of refused by HTTP/2.
const STREAMS_TO_REFUSE: u32 = 200;

/// Serves one accepted socket to its end.
pub(super) async fn run(worker: Arc<Worker>, tcp: TcpStream, address: std::net::SocketAddr, plaintext: bool) {
    let _ = tcp.set_nodelay(true);
    let serving = worker.shared.serving.load_full();
    worker.tally.accepted();
    let guest = |identity: Option<Identity>| {
        let peer = Peer { address, words: address.to_string(), identity: identity.map(Arc::new) };
        Arc::new(Guest::new(peer, worker.tally.clone(), worker.unread.clone()))
    };
    match serving.tls.as_ref().filter(|_| !plaintext) {
        None => speak(&worker, tcp, guest(None), None).await,
        Some(tls) => match handshake(&worker, tls, tcp).await {
            Ok((stream, identity, h2)) => {
                let _visit = worker.shared.clients.enter(&identity, address.ip());
                speak(&worker, stream, guest(Some(identity)), h2).await;
            }
            Err(error) => failed(&worker, guest(None), &error),
        },
    }
}

fn failed(worker: &Worker, guest: Arc<Guest>, error: &io::Error) {
    let why = HandshakeFailure::of(error);
    worker.tally.handshake_failed(why);
    if why == HandshakeFailure::Timeout {
        worker.tally.hit(Limit::HandshakeTime);
    }
    let address = guest.peer.address.ip();
    if !worker.shared.knocks.admit(address, why, std::time::Instant::now(), clock::now()) {
        return worker.tally.hit(Limit::HandshakeRecords);
    }
    let slot = worker.recorder.reserve_now();
    let mut operation =
        Operation::new(slot, guest, ("tls".into(), "handshake".into()), &HeaderMap::new(), clock::now());
    operation.broken(error);
    operation.finish(End::None);
}

type Accepted = (tokio_rustls::server::TlsStream<TcpStream>, Identity, Option<bool>);

/// The stream, the client's certificate, and whether ALPN chose HTTP/2.
async fn handshake(worker: &Worker, tls: &ServerSide, tcp: TcpStream) -> io::Result<Accepted> {
    let limit = Duration::from_millis(worker.shared.hello.handshake_timeout_ms);
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no TLS handshake within {limit:?}"));
    let accept = TlsAcceptor::from(tls.config.clone()).accept(tcp);
    let stream = timeout(limit, accept).await.unwrap_or_else(|_| Err(late()))?;
    let session = stream.get_ref().1;
    let identity = session.peer_certificates().and_then(Identity::new);
    let h2 = session.alpn_protocol().map(|protocol| protocol == b"h2");
    let identity = identity.ok_or_else(|| io::Error::other("no readable client certificate"))?;
    Ok((stream, identity, h2))
}

async fn speak<S>(worker: &Arc<Worker>, mut stream: S, guest: Arc<Guest>, h2: Option<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Without a preface in time the connection holds a place for nothing; hyper itself would wait for ever.
    let start = match timeout(FIRST, first_bytes(&mut stream, h2)).await {
        Ok(Ok(start)) => start,
        Ok(Err(_)) => return,
        Err(_) => return worker.tally.hit(Limit::HeaderTime),
    };
    let is_h2 = start.starts_with(PREFACE);
    let io = TokioIo::new(Client::new(start, stream, guest.clone(), is_h2));
    let _known = worker.unread.knows(&guest);
    let service = {
        let (worker, guest) = (worker.clone(), guest.clone());
        service_fn(move |request| serve(worker.clone(), guest.clone(), request))
    };
    if is_h2 {
        let connection = http2_builder(worker.shared.hello.max_streams).serve_connection(io, service);
        attend(worker, &guest, connection, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection = http1_builder().serve_connection(io, service);
        attend(worker, &guest, connection, |connection| connection.graceful_shutdown()).await;
    }
}

fn http2_builder(max_streams: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // A little more than calls are served. One SDK client parks all its pollers on one connection: at the number
        // told to it it would wait silently, its Respond calls with it; above ours a call is answered.
        .max_concurrent_streams(max_streams.saturating_add(STREAMS_TO_REFUSE))
        // Unequal windows, so that one stalled upload does not block the client's other calls.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        // With the upstream's stream window, all that a call holds whose client does not read.
        .max_send_buf_size(64 << 10)
        // Above it HTTP/2 answers 431 by itself, far above it ends the connection; below, `service` has its own limit.
        .max_header_list_size(2 * HEADERS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .auto_date_header(false);
    builder
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(FIRST).max_buf_size(32 << 10);
    builder
}

/// Drives a connection; ends it gently when the gateway drains, soon when its certificate is no longer good.
async fn attend<C>(worker: &Worker, guest: &Guest, connection: C, end: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let peer = &guest.peer;
    let mut connection = pin!(connection);
    let (mut version, mut draining) = (worker.shared.version.clone(), worker.shared.draining.clone());
    let mut evicted = None;
    let leave = |connection: Pin<&mut C>| {
        end(connection);
        let _ = guest.leaves.set(());
    };
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                let limit = ended.err().and_then(|error| Limit::of(&error));
                return limit.into_iter().for_each(|limit| worker.tally.hit(limit));
            }
            changed = draining.wait_for(|draining| *draining), if !guest.leaves.initialized() => {
                drop(changed);
                leave(connection.as_mut());
            }
            Ok(()) = version.changed(), if evicted.is_none() => {
                if !is_welcome(worker, peer) {
                    tracing::info!(peer = %peer.address, "connection ended: its certificate is no longer accepted");
                    evicted = Some(Instant::now() + EVICTED);
                    leave(connection.as_mut());
                }
            }
            () = guest.unwelcome.notified(), if evicted.is_none() => {
                let Some(farewell) = guest.farewell() else { continue };
                tracing::warn!(peer = %peer.address, "connection ended: {}", farewell.why);
                evicted = Some(Instant::now() + farewell.grace);
                leave(connection.as_mut());
            }
            () = sleep_until(evicted.unwrap_or_else(Instant::now)), if evicted.is_some() => return,
        }
    }
}

/// Whether this connection's certificate would still get in.
fn is_welcome(worker: &Worker, peer: &Peer) -> bool {
    let serving = worker.shared.serving.load();
    match (&serving.tls, &peer.identity) {
        (Some(tls), Some(identity)) => {
            let seconds = u64::try_from(clock::now().unix_timestamp()).unwrap_or_default();
            tls.still_accepts(identity, UnixTime::since_unix_epoch(Duration::from_secs(seconds))).is_ok()
        }
        _ => true,
    }
}

/// The first bytes: the whole preface of HTTP/2, or enough to see that it is not.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin), h2: Option<bool>) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(PREFACE.len());
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        let mut rest = (&mut *stream).take((PREFACE.len() - start.len()) as u64);
        if rest.read_buf(&mut start).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // What ALPN agreed on binds both sides.
    match h2 {
        Some(agreed) if agreed != (start == PREFACE) => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(start),
    }
}
