//! Chain verification: our own words first, then the verdict of the library that serves the real handshakes.

use std::sync::Arc;

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs::default_provider,
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;

use super::{Certificate, Error};
use crate::config::SanName;

/// Which end of a connection presents a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A server.
    Server,
    /// A client.
    Client,
}

/// Errors unless `chain` (leaf first) leads to one of `trust` for `purpose` at `at`, expired anchors included: the
/// library accepts those, Go does not.
pub fn verify(chain: &[Certificate], trust: &[Certificate], purpose: Purpose, at: OffsetDateTime) -> Result<(), Error> {
    let [leaf, intermediates @ ..] = chain else { return Err(Error::NoPem("certificate")) };
    let refuse = |reason: String| Err(Error::Untrusted { subject: leaf.subject.clone(), reason });
    check_times(leaf, at)?;
    match purpose {
        Purpose::Server if !leaf.server_auth => return refuse("is not a server certificate (EKU)".to_owned()),
        Purpose::Client if !leaf.client_auth => return refuse("is not a client certificate (EKU)".to_owned()),
        _ => {}
    }
    let valid: Vec<_> = trust.iter().filter(|c| c.not_before <= at && at <= c.not_after).collect();
    if valid.is_empty() {
        return refuse("has no CA that is valid now".to_owned());
    }
    ask(leaf, intermediates, &valid, purpose, at).or_else(|e| refuse(reason(leaf, trust, &e)))
}

fn check_times(leaf: &Certificate, at: OffsetDateTime) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Untrusted { subject: leaf.subject.clone(), reason });
    if at < leaf.not_before {
        return refuse(format!("is not valid before {}", leaf.not_before));
    }
    if at > leaf.not_after {
        return refuse(format!("expired on {}", leaf.not_after));
    }
    Ok(())
}

fn ask(
    leaf: &Certificate,
    intermediates: &[Certificate],
    trust: &[&Certificate],
    purpose: Purpose,
    at: OffsetDateTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for anchor in trust {
        roots.add(anchor.der().clone())?;
    }
    let (roots, provider) = (Arc::new(roots), Arc::new(default_provider()));
    let between: Vec<CertificateDer<'_>> = intermediates.iter().map(|c| c.der().clone()).collect();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp().max(0).unsigned_abs()));
    let general = |e: &dyn std::fmt::Display| rustls::Error::General(e.to_string());
    match purpose {
        Purpose::Client => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            verifier.map_err(|e| general(&e))?.verify_client_cert(leaf.der(), &between, now).map(drop)
        }
        Purpose::Server => {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            let name = server_name(leaf).ok_or_else(|| general(&"it names no DNS name or address (SAN)"))?;
            verifier.map_err(|e| general(&e))?.verify_server_cert(leaf.der(), &between, &name, &[], now).map(drop)
        }
    }
}

/// A name of the certificate itself: which names it should have is not decided here.
fn server_name(leaf: &Certificate) -> Option<ServerName<'static>> {
    leaf.sans.iter().find_map(|san| match san {
        SanName::Dns(dns) => ServerName::try_from(dns.replacen('*', "any", 1)).ok(),
        SanName::Ip(ip) => Some(ServerName::from(*ip)),
    })
}

fn reason(leaf: &Certificate, trust: &[Certificate], error: &rustls::Error) -> String {
    let trusted: Vec<_> = trust.iter().map(|c| c.subject.as_str()).collect();
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("is not signed by {} (issuer {})", trusted.join(" or "), leaf.issuer)
        }
        other => format!("does not verify against {}: {other}", trusted.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::pki::{Authority, Key, Profile};

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn server() -> (Authority, Vec<Certificate>) {
        let ca = Authority::create(NOW, Duration::days(100)).unwrap();
        let sans = vec![SanName::Dns("app_data_temporal_server".to_owned()), "::1".parse().unwrap()];
        let leaf = ca.issue(&Profile::Server { sans }, &Key::generate().unwrap(), NOW, Duration::days(9)).unwrap();
        (ca, Certificate::all_from_pem(&leaf.chain_pem).unwrap())
    }

    fn words(result: Result<(), Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn without_a_ca_of_this_time_nothing_passes() {
        let why = words(verify(&server().1, &[], Purpose::Server, NOW));
        assert!(why.ends_with("has no CA that is valid now"), "{why}");
    }

    #[test]
    fn a_server_certificate_serves_and_is_no_client() {
        let (ca, chain) = server();
        let trust = [ca.certificate().clone()];
        verify(&chain, &trust, Purpose::Server, NOW).unwrap();
        assert_eq!(
            words(verify(&chain, &trust, Purpose::Client, NOW)),
            "CN=temporal-server is not a client certificate (EKU)"
        );
    }

    #[test]
    fn times_are_checked_at_both_ends() {
        let (ca, chain) = server();
        let trust = [ca.certificate().clone()];
        assert!(
            words(verify(&chain, &trust, Purpose::Server, NOW - Duration::minutes(6))).contains("not valid before")
        );
        assert!(words(verify(&chain, &trust, Purpose::Server, NOW + Duration::days(10))).contains("expired on"));
    }

    #[test]
    fn another_authority_is_named() {
        let (_, chain) = server();
        let (other, _) = server();
        let trust = [other.certificate().clone()];
        assert!(words(verify(&chain, &trust, Purpose::Server, NOW)).contains("is not signed by CN=Temporal Warden CA"));
    }

    #[test]
    fn a_serial_is_lower_case_hex_and_random_enough() {
        let (ca, chain) = server();
        for certificate in [ca.certificate(), &chain[0]] {
            assert!(certificate.serial.len() >= 31, "{}", certificate.serial);
            assert!(certificate.serial.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        }
        assert_eq!(chain[0].aki, ca.certificate().ski);
        assert!(chain[0].ski.is_some());
    }
}
