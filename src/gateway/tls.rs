//! TLS of port 7233: one configuration per version of the material, shared by all workers.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore,
    ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{identity::Identity, link::ServerTls};

/// Material that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// PEM that can't be read.
    #[error("{what} is not readable PEM: {reason}")]
    Pem {
        /// Which part.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A trust bundle that can't be used.
    #[error("the trust bundle cannot be used: {0}")]
    Trust(String),
    /// A chain or key that can't be used.
    #[error("{what} cannot be used: {source}")]
    Tls {
        /// Which part.
        what: &'static str,
        /// Why not.
        source: TlsError,
    },
}

/// The configuration and the verifier inside it, which also judges connections that are already open.
#[derive(Debug, Clone)]
pub(super) struct ServerSide {
    /// For the next handshake.
    pub config: Arc<ServerConfig>,
    verifier: Arc<Revoking>,
}

impl ServerSide {
    /// Builds everything before anything is switched.
    pub(super) fn new(tls: &ServerTls, revoked: impl Fn(&str) -> bool + Send + Sync + 'static) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&tls.trust_pem)?), provider.clone())
            .build()
            .map_err(|e| Error::Trust(e.to_string()))?;
        let verifier = Arc::new(Revoking { inner, revoked: Box::new(revoked) });
        let key = private_key("the server key", tls.key_pem.expose())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::Tls { what: "TLS 1.2 and 1.3", source })?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(certificates("the server chain", &tls.chain_pem)?, key)
            .map_err(|source| Error::Tls { what: "the server certificate with its key", source })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would not be checked against a changed trust bundle; connections live for hours anyway.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// Whether the client of an open connection would still get in at `now`.
    pub(super) fn still_accepts(&self, identity: &Identity, now: UnixTime) -> Result<(), TlsError> {
        let Some((leaf, rest)) = identity.chain.split_first() else { return Err(TlsError::NoCertificatesPresented) };
        self.verifier.verify_client_cert(leaf, rest, now).map(|_| ())
    }
}

/// A client's side of HTTP/2 over TLS 1.2 or 1.3, with its chain and key where it shows any.
pub(crate) fn client_side(trust_pem: &str, client: Option<(&str, &str)>) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Tls { what: "TLS 1.2 and 1.3", source })?
        .with_root_certificates(roots(trust_pem)?);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config
            .with_client_auth_cert(certificates("the client chain", chain)?, private_key("the client key", key)?)
            .map_err(|source| Error::Tls { what: "the client certificate with its key", source })?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A client's side of HTTP/1.1 over TLS 1.2 or 1.3, towards a server of somebody else's.
pub(super) fn fetching(trust_pem: &str) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    // A bundle of a whole world of authorities has some that this library does not take; those are left out.
    if roots.add_parsable_certificates(certificates("the trust bundle", trust_pem)?).0 == 0 {
        return Err(Error::Trust("none of its certificates can be a root".to_owned()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Tls { what: "TLS 1.2 and 1.3", source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Goes on by TLS over `tcp`, to the server of that name; plainly with `None`.
pub(crate) async fn over(
    tcp: TcpStream,
    tls: Option<(TlsConnector, ServerName<'static>)>,
) -> io::Result<Box<dyn Stream>> {
    Ok(match tls {
        Some((connector, name)) => Box::new(connector.connect(name, tcp).await?),
        None => Box::new(tcp),
    })
}

/// Certificates of a PEM text, at least one.
fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Error::Pem { what, reason: "it holds no certificate".to_owned() }),
        Err(e) => Err(Error::Pem { what, reason: e.to_string() }),
    }
}

/// The private key of a PEM text.
fn private_key(what: &'static str, pem: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::Pem { what, reason: e.to_string() })
}

/// Roots of a PEM bundle.
fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the trust bundle", pem)? {
        roots.add(certificate).map_err(|e| Error::Trust(e.to_string()))?;
    }
    Ok(roots)
}

/// The usual verification, then the list of revoked serials.
struct Revoking {
    inner: Arc<dyn ClientCertVerifier>,
    revoked: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Revoking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoking").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Revoking {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        let serial = Identity::serial(end_entity).ok_or(TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        if (self.revoked)(&serial) {
            return Err(TlsError::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    /// A certificate that signed itself, and its key.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn material_that_cannot_serve_is_refused_by_what_it_is() {
        let (ours, theirs) = (pair(), pair());
        let no_ca = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n";
        for (trust, chain, key, why) in [
            ("", &ours.0, &ours.1, "the trust bundle is not readable PEM: it holds no certificate"),
            (no_ca, &ours.0, &ours.1, "the trust bundle cannot be used: "),
            (&ours.0, &"text".to_owned(), &ours.1, "the server chain is not readable PEM: it holds no certificate"),
            (&ours.0, &ours.0, &"text".to_owned(), "the server key is not readable PEM: "),
            (&ours.0, &ours.0, &theirs.1, "the server certificate with its key cannot be used: "),
        ] {
            let tls =
                ServerTls { trust_pem: trust.to_owned(), chain_pem: chain.clone(), key_pem: Secret::new(key.clone()) };
            let refused = ServerSide::new(&tls, |_| false).map(|_| ()).unwrap_err().to_string();
            assert!(refused.starts_with(why), "{refused}");
        }
    }
}
