//! How one connection to the upstream is made, and how it is kept alive.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Ping, PingPong, client::SendRequest};
use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{cork::Cork, own};
use crate::gateway::{link, tls};

/// Streams the gateway opens on one connection at most; below the peer's limit nothing queues unseen.
pub(super) const STREAMS: usize = 250;
/// Bytes in flight to us on one stream: what a client that reads nothing costs per call, and enough for a near upstream.
const STREAM_WINDOW: u32 = 64 << 10;
/// And on the connection: every stream may stall with a full window and the others still move.
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;
/// TCP, TLS and the HTTP/2 preface together.
const CONNECT: Duration = Duration::from_secs(5);
/// Temporal answers faster pings than one in 10 s with GOAWAY.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Then the connection is dead.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes connections to one address with one set of certificates.
pub(in crate::gateway) struct Connector {
    /// Of the material it came with: a higher one replaces a lower one, never the other way round.
    pub(super) version: u64,
    address: String,
    made_from: Option<link::UpstreamTls>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// `:authority` of requests.
    pub authority: Authority,
    /// `:scheme` of requests.
    pub scheme: Scheme,
}

/// Moves a connection's bytes, also when it takes no new streams; it lives until the last stream has ended.
pub(super) struct Driver(AbortHandle);

impl Driver {
    /// Cuts the connection: every stream on it ends as broken off.
    pub(super) fn cut(&self) {
        self.0.abort();
    }

    /// Whether the connection is over.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Connector {
    /// The connector for `upstream`: the one `before` while nothing changed, so that a rotation of what clients see
    /// leaves the connections to Temporal alone.
    pub(in crate::gateway) fn after(
        before: Option<&Arc<Self>>,
        upstream: &link::Upstream,
        version: u64,
    ) -> Result<Arc<Self>, String> {
        let same = |before: &&Arc<Self>| before.address == upstream.address && before.made_from == upstream.tls;
        match before.filter(same) {
            Some(before) => Ok(before.clone()),
            None => Self::new(upstream, version).map(Arc::new),
        }
    }

    /// Builds everything that can fail.
    fn new(upstream: &link::Upstream, version: u64) -> Result<Self, String> {
        let address = upstream.address.clone();
        let authority = address.parse().map_err(|e| format!("upstream address {address:?} is not host:port: {e}"))?;
        let tls = upstream.tls.as_ref().map(client_side).transpose()?;
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self { version, address, made_from: upstream.tls.clone(), tls, authority, scheme })
    }

    /// Opens a connection and starts its driver, which calls `ended` when the connection is over.
    pub(super) async fn connect(
        &self,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<(SendRequest<Bytes>, Driver)> {
        let limit = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}"));
        timeout(CONNECT, self.open(ended)).await.unwrap_or_else(|_| Err(limit()))
    }

    /// As [`Self::connect`], to a frontend that may just have been started: it opens its port before it serves.
    pub(super) async fn connect_to_started(
        &self,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<(SendRequest<Bytes>, Driver)> {
        let (send, driver) = self.connect(ended).await?;
        let limit =
            || io::Error::new(io::ErrorKind::TimedOut, format!("it does not serve within {CONNECT:?} of its start"));
        match timeout(CONNECT, own::serves(&send, self)).await.unwrap_or_else(|_| Err(limit())) {
            Ok(()) => Ok((send, driver)),
            Err(error) => {
                driver.cut();
                Err(error)
            }
        }
    }

    async fn open(&self, ended: impl FnOnce() + Send + 'static) -> io::Result<(SendRequest<Bytes>, Driver)> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let stream = tls::over(tcp, self.tls.clone()).await?;
        let (send, mut connection) = builder().handshake(Cork::new(stream)).await.map_err(io::Error::other)?;
        let pings = connection.ping_pong();
        let driver = tokio::spawn(async move {
            drive(connection, pings).await;
            ended();
        });
        Ok((send, Driver(driver.abort_handle())))
    }
}

fn builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(256 << 10)
        .enable_push(false)
        // The peer is trusted, and a client of ours that reads slowly or cancels often must not cost the others their
        // connection: budgets for hostile peers are switched off on this hop.
        .data_frame_budget(usize::MAX >> 1)
        .max_local_error_reset_streams(None)
        .max_concurrent_reset_streams(4096)
        .reset_stream_duration(Duration::from_secs(5));
    builder
}

fn client_side(upstream: &link::UpstreamTls) -> Result<(TlsConnector, ServerName<'static>), String> {
    let client = upstream.client.as_ref().map(|(chain, key)| (chain.as_str(), key.expose().as_str()));
    let config = tls::client_side(&upstream.trust_pem, client).map_err(|e| format!("upstream: {e}"))?;
    let name = ServerName::try_from(upstream.server_name.clone())
        .map_err(|_| format!("upstream server name {:?} is neither a DNS name nor an address", upstream.server_name))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

async fn drive(connection: impl Future<Output = Result<(), h2::Error>>, pings: Option<PingPong>) {
    let Some(pings) = pings else { return };
    tokio::select! {
        end = connection => if let Err(error) = end {
            tracing::debug!(%error, "upstream connection ended");
        },
        () = silent(pings) => tracing::warn!("upstream connection: no answer to a ping within {PING_TIMEOUT:?}; closed"),
    }
}

/// Returns when a ping is not answered in time.
async fn silent(mut pings: PingPong) {
    loop {
        sleep(PING_INTERVAL).await;
        let pong = pin!(pings.ping(Ping::opaque()));
        match timeout(PING_TIMEOUT, pong).await {
            Ok(Ok(_)) => {}
            // The connection itself reports what happened to it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_cannot_be_asked_is_refused_by_what_is_wrong_with_it() {
        let trust = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let named = |server_name: &str, trust_pem: &str| {
            let tls = link::UpstreamTls {
                trust_pem: trust_pem.to_owned(),
                client: None,
                server_name: server_name.to_owned(),
            };
            link::Upstream { address: "127.0.0.1:1".to_owned(), tls: Some(tls), internal_key_pem: None }
        };
        let nowhere = link::Upstream { address: "no address".to_owned(), tls: None, internal_key_pem: None };
        for (upstream, why) in [
            (nowhere, "upstream address \"no address\" is not host:port: "),
            (named("not a name", &trust), "upstream server name \"not a name\" is neither a DNS name nor an address"),
            (named("localhost", ""), "upstream: the trust bundle is not readable PEM: it holds no certificate"),
        ] {
            let refused = Connector::new(&upstream, 1).map(|_| ()).unwrap_err();
            assert!(refused.starts_with(why), "{refused}");
        }
    }
}
