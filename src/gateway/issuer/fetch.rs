//! One fetch of a JWKS: HTTP/1.1 over TLS, one answer of bounded size, no redirect, nothing believed but what TLS vouches for.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    config::security,
    gateway::{link::KeysFrom, tls},
    tokens,
};

/// Largest answer; keys with their certificate chains are some kilobytes each.
const LARGEST: usize = 256 << 10;
/// Where OpenID Connect Discovery 1.0 §4 puts the description of an issuer.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// How the issuer is reached.
pub(super) struct Door {
    from: KeysFrom,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// Reads the roots.
    pub(super) fn new(from: &KeysFrom) -> Result<Self, String> {
        let tls = from.trust_pem.as_deref().map(tls::fetching).transpose().map_err(|error| error.to_string())?;
        Ok(Self { from: from.clone(), tls: tls.map(Arc::new) })
    }
}

/// The JWKS as it comes.
pub(super) async fn fetch(door: &Door) -> Result<String, String> {
    if !door.from.discovery {
        return get(door, &door.from.url).await;
    }
    let described = format!("{}{WELL_KNOWN}", door.from.url.trim_end_matches('/'));
    let document = get(door, &described).await.map_err(|why| format!("{WELL_KNOWN}: {why}"))?;
    let url = jwks_uri(&document, &door.from.url)?;
    get(door, &url).await.map_err(|why| format!("{url}: {why}"))
}

/// Where an issuer says its keys are, if the document is that issuer's.
fn jwks_uri(document: &str, issuer: &str) -> Result<String, String> {
    let described: Value = serde_json::from_str(document).map_err(|e| format!("{WELL_KNOWN} is no JSON: {e}"))?;
    let member = |name: &str| described.get(name).and_then(Value::as_str);
    match (member("issuer"), member("jwks_uri")) {
        (Some(said), Some(url)) if said == issuer => Ok(url.to_owned()),
        (Some(said), Some(_)) => Err(format!("{WELL_KNOWN} describes the issuer {said:?}, not {issuer:?}")),
        _ => Err(format!("{WELL_KNOWN} has no issuer and jwks_uri")),
    }
}

/// Scheme, host and port of a URL that may be asked.
fn target(url: &str, allow_http: bool) -> Result<(Uri, bool, String, u16), String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let (secure, port) = security(&uri, allow_http).ok_or_else(|| format!("{url:?} is not https"))?;
    if host.is_empty() { Err(format!("{url:?} names no host")) } else { Ok((uri, secure, host, port)) }
}

async fn get(door: &Door, url: &str) -> Result<String, String> {
    let (uri, secure, host, port) = target(url, door.from.allow_http)?;
    let stream = connect(door, secure, host, port).await.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "the gateway may not connect to port {port}: it is let out to that of the URL it was given only; set WARDEN_EXTERNAL_JWKS_URL"
        ),
        _ => error.to_string(),
    })?;
    let said = |error: hyper::Error| format!("HTTP: {error}");
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let connection = tokio::spawn(connection);
    let answer = answer(&mut send, &uri).await;
    connection.abort();
    answer
}

async fn connect(door: &Door, secure: bool, host: String, port: u16) -> io::Result<Box<dyn tls::Stream>> {
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    let secured = match (&door.tls, secure) {
        (_, false) => None,
        (Some(tls), true) => {
            Some((TlsConnector::from(tls.clone()), ServerName::try_from(host).map_err(io::Error::other)?))
        }
        (None, true) => return Err(io::Error::other("there are no roots to check its certificate with")),
    };
    tls::over(tcp, secured).await
}

async fn answer(send: &mut hyper::client::conn::http1::SendRequest<Empty<Bytes>>, uri: &Uri) -> Result<String, String> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("temporal-warden/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = send.send_request(request).await.map_err(|error| format!("HTTP: {error}"))?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("HTTP status {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body =
        body.map_err(|error| format!("the answer broke off or is larger than {} KiB: {error}", LARGEST >> 10))?;
    String::from_utf8(body.to_bytes().into()).map_err(|error| tokens::Error::Jwks(error.to_string()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_asked_and_http_where_nobody_is_in_between_or_it_is_allowed() {
        let port = |url, allowed| target(url, allowed).map(|(_, _, _, port)| port).ok();
        assert_eq!(port("https://id.example/keys", false), Some(443));
        assert_eq!(port("https://id.example:8443/keys", false), Some(8443));
        assert_eq!(port("http://127.0.0.1:81/", false), Some(81));
        assert_eq!(port("http://[::1]/", false), Some(80));
        assert_eq!(port("http://id.example/", false), None);
        assert_eq!(port("http://id.example/", true), Some(80));
        assert_eq!(port("http://127.0.0.1.evil.example/", false), None);
        let why = |url| target(url, false).unwrap_err();
        assert!(why("a b").starts_with("\"a b\" is no URL: "));
        assert_eq!(why("/keys"), "\"/keys\" is not https");
        assert_eq!(why("https://:443/keys"), "\"https://:443/keys\" names no host");
        for url in ["file:///etc/passwd", "ftp://a/", "https://", "/keys", "keys", ""] {
            assert_eq!(port(url, true), None, "{url}");
        }
    }

    #[test]
    fn a_description_counts_only_for_the_issuer_it_names() {
        let document = r#"{"issuer":"https://a","jwks_uri":"https://a/keys"}"#;
        assert_eq!(jwks_uri(document, "https://a").as_deref(), Ok("https://a/keys"));
        assert!(jwks_uri(document, "https://a/").unwrap_err().contains("describes the issuer"));
        let why = |document| jwks_uri(document, "https://a").unwrap_err();
        assert_eq!(why("{}"), "/.well-known/openid-configuration has no issuer and jwks_uri");
        assert!(why("<html>").starts_with("/.well-known/openid-configuration is no JSON: "));
    }
}
