//! Reading certificates: names, times, uses, identifiers, and whether a key belongs to one.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate, X509Name};

use super::{Error, Key};
use crate::config::SanName;

/// A certificate as read, with what reports and checks ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// DER of its SubjectPublicKeyInfo.
    public_key: Vec<u8>,
    /// Subject in words (`CN=temporal-client`).
    pub subject: String,
    /// Issuer in words.
    pub issuer: String,
    /// First common name of the subject.
    pub common_name: Option<String>,
    /// Lower-case hex without separators or leading zeros.
    pub serial: String,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// First moment.
    pub not_before: OffsetDateTime,
    /// Last moment.
    pub not_after: OffsetDateTime,
    /// DNS names and addresses.
    pub sans: BTreeSet<SanName>,
    /// BasicConstraints say CA.
    pub is_ca: bool,
    /// Most intermediates below, if limited.
    pub path_len: Option<u32>,
    /// EKU serverAuth (or no EKU at all).
    pub server_auth: bool,
    /// EKU clientAuth (or no EKU at all).
    pub client_auth: bool,
    /// Subject key identifier, lower-case hex.
    pub ski: Option<String>,
    /// Authority key identifier, lower-case hex.
    pub aki: Option<String>,
}

impl Certificate {
    /// Every certificate of a PEM text, in order; an error when there is none or one can't be read.
    pub fn all_from_pem(pem: &str) -> Result<Vec<Self>, Error> {
        let blocks: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let blocks = blocks.map_err(|e| unreadable(e.to_string()))?;
        if blocks.is_empty() {
            return Err(Error::NoPem("certificate"));
        }
        blocks.into_iter().map(|der| Self::from_der(der.into_owned())).collect()
    }

    /// One certificate from its DER.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, Error> {
        let (rest, parsed) = X509Certificate::from_der(&der).map_err(|e| unreadable(e.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable(format!("{} bytes follow it", rest.len())));
        }
        let mut this = Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            common_name: common_names(parsed.subject()).next().map(str::to_owned),
            serial: serial_hex(parsed.raw_serial()),
            fingerprint: hex(digest::digest(&digest::SHA256, &der).as_ref()),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            sans: BTreeSet::new(),
            is_ca: false,
            path_len: None,
            server_auth: true,
            client_auth: true,
            ski: None,
            aki: None,
            public_key: parsed.public_key().raw.to_vec(),
            der: CertificateDer::from(der.to_vec()),
        };
        for extension in parsed.extensions() {
            this.read_extension(extension.parsed_extension())?;
        }
        Ok(this)
    }

    fn read_extension(&mut self, extension: &ParsedExtension<'_>) -> Result<(), Error> {
        match extension {
            ParsedExtension::BasicConstraints(basic) => {
                (self.is_ca, self.path_len) = (basic.ca, basic.path_len_constraint)
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.server_auth = usage.any || usage.server_auth;
                self.client_auth = usage.any || usage.client_auth;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                self.sans = names.general_names.iter().filter_map(san_name).collect();
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.ski = Some(hex(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => self.aki = id.key_identifier.as_ref().map(|id| hex(id.0)),
            ParsedExtension::ParseError { error } => return Err(unreadable(format!("bad extension: {error}"))),
            _ => {}
        }
        Ok(())
    }

    /// Its DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The `x5t#S256` of RFC 8705 §3.1: base64url of the SHA-256 of the DER.
    pub fn x5t(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.der))
    }

    /// Of its public key: base64url of the SHA-256 of the SubjectPublicKeyInfo's DER (RFC 7469 §2.4).
    pub fn spki(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.public_key))
    }

    /// Its PEM.
    pub fn to_pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Issuer and subject are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The common name, when it is all of the subject.
    pub fn sole_common_name(&self) -> Option<&str> {
        let cn = self.common_name.as_deref()?;
        (self.subject == format!("CN={cn}")).then_some(cn)
    }

    /// Errors unless `key` is the one certified here.
    pub fn check_key(&self, key: &Key) -> Result<(), Error> {
        let (_, parsed) = X509Certificate::from_der(&self.der).map_err(|e| unreadable(e.to_string()))?;
        if parsed.public_key().raw == key.public_der() {
            return Ok(());
        }
        Err(Error::KeyMismatch { subject: self.subject.clone(), serial: self.serial.clone() })
    }

    /// Whether a KeyUsage, where there is one, allows signatures: TLS 1.3 needs them of every leaf (RFC 8446 §4.4.2.2).
    pub fn may_sign_handshakes(&self) -> bool {
        let parsed = X509Certificate::from_der(&self.der);
        parsed.is_ok_and(|(_, c)| match c.key_usage() {
            Ok(Some(usage)) => usage.value.digital_signature(),
            Ok(None) => true,
            Err(_) => false,
        })
    }

    /// Errors unless this certificate may sign others; a self-issued one must also carry its own valid signature.
    pub fn check_authority(&self) -> Result<(), Error> {
        let not = |lacks| Err(Error::NotAuthority { subject: self.subject.clone(), lacks });
        if !self.is_ca {
            return not("no BasicConstraints CA:TRUE");
        }
        let (_, parsed) = X509Certificate::from_der(&self.der).map_err(|e| unreadable(e.to_string()))?;
        if parsed.subject().iter().any(|part| part.iter().count() != 1) {
            return not("a name part of several values (A+B), which can't be written into leafs");
        }
        if let Ok(Some(usage)) = parsed.key_usage()
            && !usage.value.key_cert_sign()
        {
            return not("a KeyUsage without keyCertSign");
        }
        if self.is_self_issued() { self.check_issued_by(self) } else { Ok(()) }
    }

    /// Errors unless `issuer`'s name and key signed this certificate. Says nothing of times and uses.
    pub fn check_issued_by(&self, issuer: &Self) -> Result<(), Error> {
        let untrusted = |reason| Err(Error::Untrusted { subject: self.subject.clone(), reason });
        let (_, mine) = X509Certificate::from_der(&self.der).map_err(|e| unreadable(e.to_string()))?;
        let (_, theirs) = X509Certificate::from_der(&issuer.der).map_err(|e| unreadable(e.to_string()))?;
        if mine.issuer().as_raw() != theirs.subject().as_raw() {
            return untrusted(format!("was issued by {}, not by {}", self.issuer, issuer.subject));
        }
        match mine.verify_signature(Some(theirs.public_key())) {
            Ok(()) => Ok(()),
            Err(e) => untrusted(format!("does not carry a valid signature of {}: {e}", issuer.subject)),
        }
    }
}

/// RFC 7468 text of what is no secret.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn unreadable(detail: String) -> Error {
    Error::Unreadable { what: "certificate", detail }
}

fn common_names<'a>(name: &'a X509Name<'a>) -> impl Iterator<Item = &'a str> {
    name.iter_common_name().filter_map(|attribute| attribute.as_str().ok())
}

fn san_name(name: &GeneralName<'_>) -> Option<SanName> {
    match name {
        GeneralName::DNSName(dns) => Some(SanName::Dns(dns.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(SanName::Ip)
        }
        _ => None,
    }
}

fn serial_hex(raw: &[u8]) -> String {
    let text = hex(raw);
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
