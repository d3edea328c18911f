//! A raw HTTP/2 client, so that tests can misbehave.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Gateway, certs::Client as ClientCert};

pub struct Reply {
    pub head: Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        let value = self.trailers.as_ref().and_then(|t| t.get(name)).or(self.head.headers().get(name));
        value.map(|value| value.to_str().unwrap())
    }

    pub fn status(&self) -> u32 {
        self.field("grpc-status").unwrap_or_else(|| panic!("no grpc-status: {:?}", self.head)).parse().unwrap()
    }

    pub fn message(&self) -> String {
        percent_encoding::percent_decode_str(self.field("grpc-message").unwrap_or("")).decode_utf8_lossy().into_owned()
    }
}

pub fn message(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

pub fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Sends one message and reads the whole answer.
pub async fn call(send: &SendRequest<Bytes>, path: &str, headers: &[(&str, &str)]) -> Result<Reply, h2::Error> {
    let mut send = send.clone().ready().await?;
    let (response, mut stream) = send.send_request(request(path, headers), false)?;
    stream.send_data(message(b"hello"), true)?;
    read(response).await
}

pub async fn read(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Reply { head: Response::from_parts(parts, ()), body, trailers })
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

impl Gateway {
    /// An HTTP/2 connection with a good certificate.
    pub async fn connect(&self) -> SendRequest<Bytes> {
        self.connect_as(ClientCert::default()).await
    }

    pub async fn connect_as(&self, client: ClientCert) -> SendRequest<Bytes> {
        let tls = self.tls(Some(self.ca.client(client)), &[b"h2"]).await.unwrap();
        h2_over(tls).await
    }

    /// Returns once the gateway has ended a connection; its certificate is no longer good.
    pub async fn ended(&self, send: &SendRequest<Bytes>) {
        let over = async { while call(send, super::LIST, &[]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(10), over).await.expect("the connection goes on");
    }

    /// One call with a token of `scope`.
    pub async fn call(&self, send: &SendRequest<Bytes>, path: &str, scope: &str) -> Reply {
        call(send, path, &[("authorization", &bearer(&self.token(scope)))]).await.unwrap()
    }

    pub async fn tls(&self, client: Option<(String, String)>, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        handshake(self.address, &self.ca.pem(), client, alpn).await
    }

    /// Sends bytes that are no TLS and waits until the gateway has hung up.
    pub async fn speak(&self, bytes: &[u8]) {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    }

    /// Plain HTTP/1.1 over TLS; the whole answer as text.
    pub async fn http1(&self, start: &str) -> String {
        let mut tls = self.tls(Some(self.ca.client(ClientCert::default())), &[b"http/1.1"]).await.unwrap();
        let text = format!("{start} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        tls.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        answer
    }
}

/// A handshake that is over only when the server took the client's certificate (TLS 1.3 tells afterwards).
pub async fn handshake(
    address: SocketAddr,
    trust: &str,
    client: Option<(String, String)>,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    handshake_over(TcpStream::connect(address).await?, trust, client, alpn).await
}

/// The same over a connection that is there.
pub async fn handshake_over(
    tcp: TcpStream,
    trust: &str,
    client: Option<(String, String)>,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(anchor.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

pub async fn h2_over<S>(stream: S) -> SendRequest<Bytes>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}
