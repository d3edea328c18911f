//! A small HTTP/2 backend that does what a call's `x-test` header says.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[derive(Clone, Default)]
pub struct Seen {
    /// Paths and headers, probes left out.
    pub calls: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    /// Streams the gateway reset.
    pub resets: Arc<AtomicUsize>,
    /// Connections so far.
    pub connections: Arc<AtomicUsize>,
    /// GOAWAY after this many streams of a connection; 0 = never.
    pub goaway_after: Arc<AtomicUsize>,
    /// Ids of namespaces, for the gateway's own questions.
    pub namespaces: Arc<Mutex<HashMap<String, String>>>,
    /// What probes were authorized with.
    pub probed_with: Arc<Mutex<Vec<HeaderValue>>>,
    /// Whether probes are refused.
    pub database_down: Arc<AtomicBool>,
    /// The port is open and nothing is served yet, as Temporal's is for a moment at its start.
    pub starting: Arc<AtomicBool>,
}

pub struct Backend {
    pub address: SocketAddr,
    pub seen: Seen,
    task: JoinHandle<()>,
}

impl Backend {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        Self::seeing(address, Seen::default()).await
    }

    /// One that does not serve until `starting` is over.
    pub async fn starting_at(address: SocketAddr) -> Self {
        let seen = Seen::default();
        seen.starting.store(true, Ordering::SeqCst);
        Self::seeing(address, seen).await
    }

    async fn seeing(address: SocketAddr, seen: Seen) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(accept(listener, seen.clone()));
        Self { address, seen, task }
    }

    /// Closes the listener and every connection.
    pub fn stop(&self) {
        self.task.abort();
    }

    pub fn count(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    pub fn last_headers(&self) -> HeaderMap {
        self.seen.calls.lock().unwrap().last().unwrap().1.clone()
    }
}

async fn accept(listener: TcpListener, seen: Seen) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        seen.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(tcp, seen.clone()));
    }
}

async fn serve(tcp: TcpStream, seen: Seen) {
    let Ok(mut connection) = server::Builder::new().max_concurrent_streams(1000).handshake::<_, Bytes>(tcp).await
    else {
        return;
    };
    let mut streams = tokio::task::JoinSet::new();
    let mut count = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(answer(request, respond, seen.clone()));
        count += 1;
        if count == seen.goaway_after.load(Ordering::SeqCst) {
            connection.graceful_shutdown();
        }
    }
}

fn trailers(code: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.append("x-trailer-bin", HeaderValue::from_static("AAEC"));
    trailers.append("x-trailer-bin", HeaderValue::from_static("AwQF"));
    trailers
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, seen: Seen) {
    let (parts, mut body) = request.into_parts();
    let probe = parts.headers.get("user-agent").is_some_and(|agent| agent == "temporal-warden");
    if let Some(token) = parts.headers.get("authorization").filter(|_| probe) {
        seen.probed_with.lock().unwrap().push(token.clone());
    }
    if !probe {
        seen.calls.lock().unwrap().push((parts.uri.path().to_owned(), parts.headers.clone()));
    }
    if seen.starting.load(Ordering::SeqCst) {
        let head = Response::builder().header("content-type", "application/grpc");
        let head =
            head.header("grpc-status", "14").header("grpc-message", "Frontend is not healthy yet").body(()).unwrap();
        respond.send_response(head, true).unwrap();
        return;
    }
    if probe && parts.uri.path().ends_with("/GetSystemInfo") {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        return stream.send_trailers(trailers("0")).unwrap();
    }
    if probe && !seen.namespaces.lock().unwrap().is_empty() {
        return describe(body, respond, &seen).await;
    }
    let test = parts.headers.get("x-test").map_or("", |test| test.to_str().unwrap()).to_owned();
    let head = || Response::builder().header("content-type", "application/grpc").header("x-echo", "1");
    match test.as_str() {
        _ if probe && seen.database_down.load(Ordering::SeqCst) => {
            let head = head().header("grpc-status", "14").header("grpc-message", "no database").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
        "trailers-only" => {
            let head = head().header("grpc-status", "5").header("grpc-message", "not%20here").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
        "hang" => {
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.resets.fetch_add(1, Ordering::SeqCst);
        }
        "big" => {
            let mut stream = respond.send_response(head().body(()).unwrap(), false).unwrap();
            for _ in 0..400 {
                if send(&mut stream, Bytes::from_static(&[7; 64 << 10])).await.is_none() {
                    return;
                }
            }
            stream.send_trailers(trailers("0")).unwrap();
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut stream = respond.send_response(head().body(()).unwrap(), false).unwrap();
            stream.send_trailers(trailers("0")).unwrap();
        }
        // Headers at once, then every frame back as it comes: shows that nothing waits for the end of the request.
        _ => {
            let coding = parts.headers.get("grpc-encoding").into_iter();
            let head = coding.fold(head(), |head, coding| head.header("grpc-encoding", coding));
            let Ok(mut stream) = respond.send_response(head.body(()).unwrap(), false) else { return };
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                if send(&mut stream, data).await.is_none() {
                    return;
                }
            }
            let _ = stream.send_trailers(trailers("0"));
        }
    }
}

/// DescribeNamespace: `namespace_info.id`, or NOT_FOUND.
async fn describe(mut body: RecvStream, mut respond: SendResponse<Bytes>, seen: &Seen) {
    let asked = body.data().await.unwrap().unwrap();
    let id = seen.namespaces.lock().unwrap().get(std::str::from_utf8(&asked[7..]).unwrap()).cloned();
    let head = Response::builder().header("content-type", "application/grpc");
    let Some(id) = id else {
        respond.send_response(head.header("grpc-status", "5").body(()).unwrap(), true).unwrap();
        return;
    };
    let length = u8::try_from(id.len()).unwrap();
    let message = [&[0, 0, 0, 0, length + 4, 0x0a, length + 2, 0x32, length], id.as_bytes()].concat();
    let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
    stream.send_data(message.into(), false).unwrap();
    stream.send_trailers(trailers("0")).unwrap();
}

async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Option<()> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        if stream.capacity() == 0 {
            std::future::poll_fn(|cx| stream.poll_capacity(cx)).await?.ok()?;
            continue;
        }
        let part = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(part, false).ok()?;
    }
    Some(())
}
