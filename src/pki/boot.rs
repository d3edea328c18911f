//! The internal authority: made in memory at each boot, for the loopback TLS between gateway and Temporal.

use std::net::{IpAddr, Ipv4Addr};

use time::{Duration, OffsetDateTime};

use super::{Authority, Error, Key, Profile};
use crate::{config::SanName, secret::Secret};

/// The name the gateway checks in Temporal's certificate.
pub const BOOT_SERVER_NAME: &str = "temporal-internal";

/// One boot's internal CA and the one pair both ends use. Its CA key is dropped at once.
#[derive(Debug, Clone)]
pub struct Boot {
    /// PEM of the CA certificate.
    pub trust_pem: String,
    /// PEM of the certificate of Temporal: server and client at once.
    pub server_pem: String,
    /// Its key.
    pub server_key_pem: Secret<String>,
    /// PEM of the gateway's client certificate.
    pub client_pem: String,
    /// Its key.
    pub client_key_pem: Secret<String>,
}

impl Boot {
    /// Makes everything, valid from a day ago for ten years: nothing here rotates, a boot replaces it.
    pub fn create(now: OffsetDateTime) -> Result<Self, Error> {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let (from, until) = (now - Duration::days(1), now + Duration::days(3653));
        let ca = Authority::self_signed("Temporal Warden internal CA", from, until)?;
        let (server_key, client_key) = (Key::generate()?, Key::generate()?);
        let server = ca.issue_for(&Profile::Internal { sans: sans() }, &server_key, from, until)?;
        let profile = Profile::Client { cn: "temporal-warden-gateway".to_owned() };
        let client = ca.issue_for(&profile, &client_key, from, until)?;
        Ok(Self {
            trust_pem: ca.trust_pem(),
            server_pem: server.chain_pem,
            server_key_pem: server_key.to_pem(),
            client_pem: client.chain_pem,
            client_key_pem: client_key.to_pem(),
        })
    }
}

fn sans() -> Vec<SanName> {
    vec![
        SanName::Dns(BOOT_SERVER_NAME.to_owned()),
        SanName::Dns("localhost".to_owned()),
        SanName::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ]
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::pki::{Certificate, Purpose, verify};

    #[test]
    fn the_internal_server_certificate_serves_both_ends_for_ten_years() {
        let now = datetime!(2026-11-24 12:00 UTC);
        let boot = Boot::create(now).unwrap();
        let trust = Certificate::all_from_pem(&boot.trust_pem).unwrap();
        let server = Certificate::all_from_pem(&boot.server_pem).unwrap();
        let client = Certificate::all_from_pem(&boot.client_pem).unwrap();
        for at in [now - Duration::hours(23), now + Duration::days(3652)] {
            verify(&server, &trust, Purpose::Server, at).unwrap();
            verify(&server, &trust, Purpose::Client, at).unwrap();
            verify(&client, &trust, Purpose::Client, at).unwrap();
        }
        verify(&client, &trust, Purpose::Server, now).unwrap_err();
    }
}
