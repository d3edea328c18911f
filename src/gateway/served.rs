//! Which certificate PostgreSQL serves now: asked over TLS, for a process that was told to load a new one is not
//! believed. Nothing is sent after the handshake, and nothing that PostgreSQL says is trusted.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::link::Served;
use crate::pki::Certificate;

/// `SSLRequest`: length 8 and the code 80877103 (PostgreSQL's protocol, "SSLRequest").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// TCP, question and handshake together.
const LIMIT: Duration = Duration::from_millis(2500);

/// Asks the PostgreSQL at `address` (`host:port`) for the certificate it serves.
pub(super) async fn by_postgres(address: &str) -> Result<Served, String> {
    let asked = timeout(LIMIT, ask(address)).await;
    let der = asked.map_err(|_| format!("{address} did not finish a TLS handshake within {LIMIT:?}"))?;
    let der = der.map_err(|error| format!("{address}: {error}"))?;
    let leaf = Certificate::from_der(der).map_err(|error| format!("the certificate of {address}: {error}"))?;
    Ok(Served { sha256: leaf.fingerprint, serial: leaf.serial, issuer: leaf.issuer })
}

async fn ask(address: &str) -> io::Result<CertificateDer<'static>> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.write_all(&SSL_REQUEST).await?;
    if tcp.read_u8().await? != b'S' {
        return Err(io::Error::other("PostgreSQL refuses TLS (ssl=off)"));
    }
    let seen = Arc::new(Looking { provider: aws_lc_rs::default_provider(), leaf: Mutex::default() });
    let config = ClientConfig::builder_with_provider(Arc::new(seen.provider.clone()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    // Its own demand for a client certificate comes after ours is answered: what is wanted is here by then.
    let ended = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let leaf = seen.leaf.lock().unwrap_or_else(PoisonError::into_inner).take();
    ended?;
    leaf.ok_or_else(|| io::Error::other("no certificate came"))
}

/// Takes every certificate and keeps it; that its key is there is checked as ever, so a copied certificate shows.
#[derive(Debug)]
struct Looking {
    provider: CryptoProvider,
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaf.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
