//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc};

use rustls_pki_types::CertificateDer;

use crate::{pki::Certificate, tokens::Confirmation};

/// The client certificate of a connection.
#[derive(Debug)]
pub(super) struct Identity {
    /// Subject in words.
    pub subject: String,
    /// Issuer in words: the CA that signed it.
    pub issuer: String,
    /// Serial, lower-case hex.
    pub serial: String,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// By what a token may be bound to it (RFC 8705).
    pub proof: Confirmation,
    /// As sent: leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// One connection's other end.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The same in words, as each record has it.
    pub words: String,
    /// Its certificate; `None` on the plaintext door and with TLS off.
    pub identity: Option<Arc<Identity>>,
}

impl Identity {
    /// Reads the leaf; `None` when there is none or it can't be read (then the handshake failed before).
    pub(super) fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let chain: Vec<_> = chain.iter().cloned().map(CertificateDer::into_owned).collect();
        let leaf = Certificate::from_der(chain.first()?.clone()).ok()?;
        let proof = Confirmation::of(&leaf);
        Some(Self {
            subject: leaf.subject,
            issuer: leaf.issuer,
            serial: leaf.serial,
            sha256: leaf.fingerprint,
            proof,
            chain,
        })
    }

    /// The serial of a certificate as revocations name it.
    pub(super) fn serial(certificate: &CertificateDer<'_>) -> Option<String> {
        Certificate::from_der(certificate.clone().into_owned()).ok().map(|read| read.serial)
    }
}
