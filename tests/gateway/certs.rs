//! Certificates for tests, good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use time::{Duration, OffsetDateTime};

pub struct Ca {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// What a client certificate says.
pub struct Client {
    pub serial: u64,
    pub purpose: ExtendedKeyUsagePurpose,
    pub not_after: OffsetDateTime,
}

impl Default for Client {
    fn default() -> Self {
        let not_after = OffsetDateTime::now_utc() + Duration::hours(1);
        Self { serial: 77, purpose: ExtendedKeyUsagePurpose::ClientAuth, not_after }
    }
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn server(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub fn client(&self, client: Client) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "temporal-client");
        params.serial_number = Some(SerialNumber::from(client.serial));
        params.extended_key_usages = vec![client.purpose];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
        params.not_after = client.not_after;
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}
