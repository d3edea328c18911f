//! Leaf certificates: one profile per use.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose, SanType,
    SerialNumber,
};
use time::{Duration, OffsetDateTime};

use super::Error;
use crate::config::SanName;

/// How far leafs are dated back, for readers whose clock is behind.
pub(super) const BACKDATE: Duration = Duration::minutes(5);

/// What a leaf is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// The server certificate of port 7233.
    Server {
        /// Its names.
        sans: Vec<SanName>,
    },
    /// A client certificate.
    Client {
        /// Its common name, which the audit log shows.
        cn: String,
    },
    /// The certificate PostgreSQL serves.
    Postgres {
        /// Its names.
        sans: Vec<SanName>,
    },
    /// Both ends of the per-boot internal TLS: Temporal uses its server certificate as a client too.
    Internal {
        /// Its names.
        sans: Vec<SanName>,
    },
}

/// An issued leaf.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// PEM: the leaf, then the intermediates up to the trusted root.
    pub chain_pem: String,
    /// Its last moment.
    pub not_after: OffsetDateTime,
}

impl Profile {
    fn common_name(&self) -> &str {
        match self {
            Self::Server { .. } => "temporal-server",
            Self::Client { cn } => cn,
            Self::Postgres { .. } => "temporal-postgres",
            Self::Internal { .. } => "temporal-internal",
        }
    }

    /// A client is named as a DNS name too where its name can be one: strict verifiers ask every leaf for a SAN.
    fn sans(&self) -> Vec<SanName> {
        match self {
            Self::Server { sans } | Self::Postgres { sans } | Self::Internal { sans } => sans.clone(),
            Self::Client { cn } => cn.parse().ok().filter(|san| matches!(san, SanName::Dns(_))).into_iter().collect(),
        }
    }

    fn usages(&self) -> Vec<Eku> {
        match self {
            Self::Server { .. } | Self::Postgres { .. } => vec![Eku::ServerAuth],
            Self::Client { .. } => vec![Eku::ClientAuth],
            Self::Internal { .. } => vec![Eku::ServerAuth, Eku::ClientAuth],
        }
    }

    /// Everything of the certificate but key and issuer.
    pub(super) fn params(&self, from: OffsetDateTime, until: OffsetDateTime) -> Result<CertificateParams, Error> {
        let mut params = CertificateParams::default();
        params.not_before = from;
        params.not_after = until;
        params.serial_number = Some(serial()?);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name());
        params.subject_alt_names = self.sans().iter().map(san_type).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.usages();
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

fn san_type(san: &SanName) -> Result<SanType, Error> {
    Ok(match san {
        SanName::Ip(ip) => SanType::IpAddress(*ip),
        SanName::Dns(name) => {
            SanType::DnsName(name.as_str().try_into().map_err(Error::make("write a DNS name into a certificate"))?)
        }
    })
}

/// 127 random bits, positive, always sixteen octets.
pub(super) fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0u8; 16];
    while bytes[0] == 0 {
        bytes = random()?;
        bytes[0] &= 0x7f;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

/// Random bytes from the one crypto library.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0u8; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Make { operation: "draw random bytes", detail: "the generator failed".to_owned() })?;
    Ok(bytes)
}
