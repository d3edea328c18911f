//! One HTTP/2 connection to the door, with or without the container's own client certificate.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{config::Config, gateway::tls, secret::Secret};

/// Longest time of one step.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// One answer: HTTP status, body, and the gRPC status with its message.
pub(super) struct Answer {
    pub(super) http: u16,
    pub(super) body: String,
    pub(super) grpc: Option<(u32, String)>,
}

/// Opens a connection to `address` over `tcp`.
pub(super) async fn speak(
    config: &Config,
    address: &str,
    tcp: TcpStream,
    certified: bool,
) -> io::Result<SendRequest<Bytes>> {
    let opening = async {
        let secure = config.tls_enabled.then(|| secure(config, address, certified)).transpose()?;
        let stream = tls::over(tcp, secure).await?;
        let (send, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        // A refused client certificate shows with the first answer only (TLS 1.3): wait until the door has spoken.
        send.ready().await.map_err(io::Error::other)
    };
    timeout(LIMIT, opening).await.map_err(io::Error::from).flatten()
}

fn secure(config: &Config, address: &str, certified: bool) -> io::Result<(TlsConnector, ServerName<'static>)> {
    let read = |name: &str| std::fs::read_to_string(config.certs.dir.join(name)).map(Secret::new);
    let trust = read("ca.crt")?;
    let own = match certified {
        false => None,
        true => Some((read("temporal-client.crt")?, read("temporal-client.key")?)),
    };
    let own = own.as_ref().map(|(chain, key)| (chain.expose().as_str(), key.expose().as_str()));
    let client = tls::client_side(trust.expose(), own).map_err(io::Error::other)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok((TlsConnector::from(Arc::new(client)), name))
}

/// `GET path`, or a gRPC call with `message` where there is one.
pub(super) async fn ask(
    send: &SendRequest<Bytes>,
    path: &str,
    message: Option<&'static [u8]>,
    token: Option<&Secret<String>>,
) -> Result<Answer, String> {
    let asking = async {
        let mut send = send.clone().ready().await?;
        let (response, mut stream) = send.send_request(request(path, message.is_some(), token), message.is_none())?;
        if let Some(message) = message {
            stream.send_data(Bytes::from_static(message), true)?;
        }
        let (head, mut body) = response.await?.into_parts();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            text.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        let grpc = grpc_status(&trailers).or_else(|| grpc_status(&head.headers));
        Ok(Answer { http: head.status.as_u16(), body: String::from_utf8_lossy(&text).into_owned(), grpc })
    };
    match timeout(LIMIT * 2, asking).await {
        Ok(answer) => answer.map_err(|error: h2::Error| format!("{path}: {error}")),
        Err(_) => Err(format!("{path}: no answer within {:?}", LIMIT * 2)),
    }
}

fn request(path: &str, grpc: bool, token: Option<&Secret<String>>) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = if grpc { http::Method::POST } else { http::Method::GET };
    *request.uri_mut() = format!("https://temporal{path}").parse().unwrap_or_default();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    };
    put("user-agent", "temporal-warden doctor");
    if grpc {
        put("content-type", "application/grpc");
        put("te", "trailers");
        put("grpc-timeout", "5S");
    }
    if let Some(token) = token {
        put("authorization", &format!("Bearer {}", token.expose().trim()));
    }
    request
}

fn grpc_status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|value| value.as_bytes()).unwrap_or_default();
    Some((code, percent_encoding::percent_decode(message).decode_utf8_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_that_takes_a_question_and_answers_nothing_is_told_from_one_that_refuses() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(theirs).await.unwrap();
                let mut held = Vec::new();
                while let Some(request) = connection.accept().await {
                    held.push(request);
                }
            });
            let (send, connection) = h2::client::handshake(ours).await.unwrap();
            tokio::spawn(connection);
            let refused = ask(&send, "/health", None, None).await.map(|_| ()).unwrap_err();
            assert_eq!(refused, "/health: no answer within 10s");
        });
    }
}
