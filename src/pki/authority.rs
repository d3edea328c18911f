//! Certificate authorities: create, load, sign, cross-sign.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::{
    Certificate, Error, Key, Leaf, Profile,
    leaf::{BACKDATE, random, serial},
};
use crate::secret::Secret;

/// How far authorities are dated back.
const CA_BACKDATE: Duration = Duration::hours(1);

/// A CA that can sign: its certificate, the parents it came with, and its key.
pub struct Authority {
    /// The issuer first, then its parents as given.
    certificates: Vec<Certificate>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new root with a name of its own.
    pub fn create(now: OffsetDateTime, life: Duration) -> Result<Self, Error> {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let tail = u64::from_be_bytes(random()?);
        Self::self_signed(&format!("Temporal Warden CA {tail:016x}"), now - CA_BACKDATE, now + life)
    }

    pub(super) fn self_signed(cn: &str, from: OffsetDateTime, until: OffsetDateTime) -> Result<Self, Error> {
        let key = Key::generate()?.into_pair();
        let params = authority_params(cn, 1, from, until)?;
        let certificate = params.self_signed(&key).map_err(Error::make("sign a CA certificate"))?;
        let certificates = vec![Certificate::from_der(certificate.der().clone())?];
        Ok(Self { certificates, issuer: Issuer::new(params, key) })
    }

    /// An existing CA: PEM of the issuer and then its parents, and PEM of the issuer's key.
    pub fn load(certificates_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let certificates = Certificate::all_from_pem(certificates_pem)?;
        let first = certificates.first().ok_or(Error::NoPem("certificate"))?;
        first.check_authority()?;
        let key = Key::from_pem(key_pem)?;
        first.check_key(&key)?;
        let issuer = Issuer::from_ca_cert_der(first.der(), key.into_pair()).map_err(Error::make("load the CA"))?;
        Ok(Self { certificates, issuer })
    }

    /// The issuing certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// PKCS#8 PEM of the key.
    pub fn key_pem(&self) -> Secret<String> {
        self.issuer.key().serialize_pem().into()
    }

    /// What readers have to trust: the self-signed certificates, or the topmost when there is none.
    pub fn trust_pem(&self) -> String {
        trust(&self.certificates).map(Certificate::to_pem).collect()
    }

    /// Signs a leaf. It never outlives the authority.
    pub fn issue(&self, profile: &Profile, key: &Key, now: OffsetDateTime, life: Duration) -> Result<Leaf, Error> {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let from = (now - BACKDATE).max(self.certificate().not_before);
        self.issue_for(profile, key, from, now + life)
    }

    pub(super) fn issue_for(
        &self,
        profile: &Profile,
        key: &Key,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Leaf, Error> {
        let until = until.min(self.certificate().not_after);
        let params = profile.params(from, until)?;
        let leaf = self.sign(&params, key.pair())?;
        let served = std::iter::once(&leaf).chain(self.certificates.iter().filter(|c| !c.is_self_issued()));
        Ok(Leaf { chain_pem: served.map(Certificate::to_pem).collect(), not_after: until })
    }

    /// `other`'s name and key, signed by this authority: whoever trusts only this one then trusts `other`'s leafs.
    ///
    /// Appended to leaf chains during a rollover. Only for authorities the warden made (a name of one part).
    pub fn cross_sign(&self, other: &Self, now: OffsetDateTime) -> Result<String, Error> {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let theirs = other.certificate();
        let cn = theirs.sole_common_name().ok_or_else(|| Error::NotAuthority {
            subject: theirs.subject.clone(),
            lacks: "a name of more than one part, which is not cross-signed",
        })?;
        let until = self.certificate().not_after.min(theirs.not_after);
        let mut params = authority_params(cn, 0, (now - CA_BACKDATE).max(self.certificate().not_before), until)?;
        params.use_authority_key_identifier_extension = true;
        Ok(self.sign(&params, other.issuer.key())?.to_pem())
    }

    /// Signs, and reads back what came out: an issuer name the library re-encoded would break the chain.
    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Result<Certificate, Error> {
        let signed = params.signed_by(key, &self.issuer).map_err(Error::make("sign a certificate"))?;
        let certificate = Certificate::from_der(CertificateDer::from(signed))?;
        certificate.check_issued_by(self.certificate())?;
        Ok(certificate)
    }
}

/// The anchors among an issuer and its parents.
pub(crate) fn trust(certificates: &[Certificate]) -> impl Iterator<Item = &Certificate> {
    let rooted = certificates.iter().any(Certificate::is_self_issued);
    let last = certificates.len().saturating_sub(1);
    certificates
        .iter()
        .enumerate()
        .filter(move |(i, c)| if rooted { c.is_self_issued() } else { *i == last })
        .map(|(_, c)| c)
}

fn authority_params(
    cn: &str,
    path_len: u8,
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.not_before = from;
    params.not_after = until;
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::pki::{Purpose, verify};

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn client() -> Profile {
        Profile::Client { cn: "temporal-client".to_owned() }
    }

    #[test]
    fn a_leaf_never_outlives_its_authority() {
        let ca = Authority::create(NOW, Duration::days(10)).unwrap();
        let leaf = ca.issue(&client(), &Key::generate().unwrap(), NOW, Duration::days(90)).unwrap();
        assert_eq!(leaf.not_after, ca.certificate().not_after);
    }

    #[test]
    fn two_roots_never_share_a_name_or_serial() {
        let [a, b] = [(); 2].map(|()| Authority::create(NOW, Duration::days(10)).unwrap());
        assert_ne!(a.certificate().subject, b.certificate().subject);
        assert_ne!(a.certificate().serial, b.certificate().serial);
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let [a, b] = [(); 2].map(|()| Authority::create(NOW, Duration::days(10)).unwrap());
        let error = Authority::load(&a.trust_pem(), b.key_pem().expose()).err().unwrap();
        assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
    }

    #[test]
    fn an_old_reader_accepts_a_new_leaf_through_the_cross_certificate() {
        let [old, new] = [(); 2].map(|()| Authority::create(NOW, Duration::days(100)).unwrap());
        let cross = old.cross_sign(&new, NOW).unwrap();
        let leaf = new.issue(&client(), &Key::generate().unwrap(), NOW, Duration::days(90)).unwrap();
        let chain = Certificate::all_from_pem(&format!("{}{cross}", leaf.chain_pem)).unwrap();
        for authority in [&old, &new] {
            verify(&chain, std::slice::from_ref(authority.certificate()), Purpose::Client, NOW).unwrap();
        }
        verify(&chain[..1], std::slice::from_ref(old.certificate()), Purpose::Client, NOW).unwrap_err();
    }

    #[test]
    fn an_intermediate_is_served_and_its_root_is_trusted() {
        let root = Authority::create(NOW, Duration::days(100)).unwrap();
        let key = Key::generate().unwrap().into_pair();
        let params = authority_params("Intermediate", 0, NOW - CA_BACKDATE, NOW + Duration::days(50)).unwrap();
        let intermediate = root.sign(&params, &key).unwrap();
        let pem = format!("{}{}", intermediate.to_pem(), root.trust_pem());
        let own = Authority::load(&pem, &key.serialize_pem()).unwrap();
        assert_eq!(own.trust_pem(), root.trust_pem());
        let leaf = own.issue(&client(), &Key::generate().unwrap(), NOW, Duration::days(90)).unwrap();
        let chain = Certificate::all_from_pem(&leaf.chain_pem).unwrap();
        assert_eq!(chain.len(), 2);
        verify(&chain, std::slice::from_ref(root.certificate()), Purpose::Client, NOW).unwrap();
    }
}
