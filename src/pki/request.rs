//! Requests for certificates that somebody else signs (PKCS#10, RFC 2986).

use rcgen::IsCa;
use time::OffsetDateTime;

use super::{Error, Key, Profile};

impl Profile {
    /// PEM of a request for this leaf, signed by `key`: subject, names and uses are those the warden would issue.
    ///
    /// Times, serial and identifiers are for the CA to choose.
    pub fn request(&self, key: &Key) -> Result<String, Error> {
        let mut params = self.params(OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH)?;
        params.serial_number = None;
        params.use_authority_key_identifier_extension = false;
        params.is_ca = IsCa::NoCa;
        let make = || Error::make("make a certificate request");
        params.serialize_request(key.pair()).map_err(make())?.pem().map_err(make())
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::{
        certification_request::X509CertificationRequest,
        prelude::{FromDer as _, ParsedExtension},
    };

    use super::*;
    use crate::config::SanName;

    #[test]
    fn a_request_names_subject_names_and_use_and_is_signed_by_its_key() {
        let sans = vec![SanName::Dns("temporal".to_owned()), "::1".parse().unwrap()];
        let pem = Profile::Server { sans }.request(&Key::generate().unwrap()).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
        let der = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        request.verify_signature().unwrap();
        assert_eq!(request.certification_request_info.subject.to_string(), "CN=temporal-server");
        let asked: Vec<_> = request.requested_extensions().unwrap().collect();
        assert!(
            asked.iter().any(|e| matches!(e, ParsedExtension::SubjectAlternativeName(n) if n.general_names.len() == 2))
        );
        assert!(
            asked.iter().any(|e| matches!(e, ParsedExtension::ExtendedKeyUsage(u) if u.server_auth && !u.client_auth))
        );
        assert!(asked.iter().any(|e| matches!(e, ParsedExtension::KeyUsage(u) if u.digital_signature())));
    }
}
