//! What the gateway tells PID 1 of others: who connects by which certificate, and which one PostgreSQL serves.

#[path = "gateway/mod.rs"]
mod gateway;

use std::sync::Arc;

use gateway::{Gateway, certs::Client};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use temporal_warden::{
    gateway::link::{self, FromGateway, Served, ToGateway},
    pki::Certificate,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

async fn clients(gateway: &mut Gateway, good: impl Fn(&[link::Client]) -> bool) -> Vec<link::Client> {
    let pick = |said| match said {
        FromGateway::Clients { rows } if good(&rows) => Some(rows),
        _ => None,
    };
    gateway.hear(pick).await
}

async fn look(gateway: &mut Gateway, address: String) -> Result<Served, String> {
    gateway.say(ToGateway::Look { id: 7, address }).await;
    let pick = |said| match said {
        FromGateway::Looked { id: 7, served } => Some(served),
        _ => None,
    };
    gateway.hear(pick).await
}

#[tokio::test]
async fn who_connects_is_told_by_certificate_issuer_and_address_also_when_it_has_gone() {
    let mut gateway = Gateway::start().await;
    let mine = gateway.ca.client(Client { serial: 0xbeef, ..Client::default() });
    let read = Certificate::all_from_pem(&mine.0).unwrap().remove(0);
    let first = gateway.tls(Some(mine.clone()), &[b"h2"]).await.unwrap();
    let second = gateway.tls(Some(mine), &[b"h2"]).await.unwrap();
    let rows = clients(&mut gateway, |rows| rows.iter().any(|row| row.open == 2)).await;
    let row = &rows[0];
    assert_eq!((rows.len(), row.serial.as_str(), &row.sha256), (1, "beef", &read.fingerprint));
    assert_eq!((row.issuer.as_str(), row.subject.as_str()), ("CN=test CA", read.subject.as_str()));
    assert!(row.address.is_loopback() && row.seen_ms > 0);
    drop((first, second));
    let rows = clients(&mut gateway, |rows| rows.iter().all(|row| row.open == 0)).await;
    assert_eq!(rows.len(), 1, "who has gone is still known");
}

/// A PostgreSQL as far as its TLS: it answers `SSLRequest` with `answer` and then serves this certificate, if any.
async fn postgres(answer: u8, certificate: Option<(String, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        tcp.read_exact(&mut request).await.unwrap();
        assert_eq!(request, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
        tcp.write_all(&[answer]).await.unwrap();
        if let Some((chain, key)) = certificate {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            let _ = TlsAcceptor::from(Arc::new(config)).accept(tcp).await;
        }
    });
    address
}

#[tokio::test]
async fn postgresql_is_asked_for_the_certificate_it_serves_whoever_signed_it() {
    let mut gateway = Gateway::start().await;
    let pair = gateway::certs::Ca::new().server();
    let read = Certificate::all_from_pem(&pair.0).unwrap().remove(0);
    let served = look(&mut gateway, postgres(b'S', Some(pair)).await).await.unwrap();
    assert_eq!((served.serial, served.sha256), (read.serial, read.fingerprint));
}

#[tokio::test]
async fn a_postgresql_without_tls_or_without_an_answer_is_named_with_the_reason() {
    let mut gateway = Gateway::start().await;
    let plain = look(&mut gateway, postgres(b'N', None).await).await.unwrap_err();
    assert!(plain.contains("refuses TLS"), "{plain}");
    let nobody = look(&mut gateway, "127.0.0.1:1".to_owned()).await.unwrap_err();
    assert!(nobody.starts_with("127.0.0.1:1: "), "{nobody}");
    // One that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = look(&mut gateway, silent.local_addr().unwrap().to_string()).await.unwrap_err();
    assert!(late.contains("did not finish a TLS handshake"), "{late}");
}
