//! Private keys of certificates.

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::Error;
use crate::secret::Secret;

/// A private key that can sign and be written as PKCS#8.
#[derive(Debug)]
pub struct Key(KeyPair);

impl Key {
    /// A new P-256 key.
    pub fn generate() -> Result<Self, Error> {
        KeyPair::generate().map(Self).map_err(Error::make("generate a P-256 key"))
    }

    /// Reads PKCS#8, SEC1 or PKCS#1 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        if !pem.contains("PRIVATE KEY-----") {
            return Err(Error::NoPem("private key"));
        }
        if pem.contains("ENCRYPTED") {
            let detail = "it is encrypted; decrypt it first (openssl pkcs8 -in FILE -out FILE)".to_owned();
            return Err(Error::Unreadable { what: "private key", detail });
        }
        KeyPair::from_pem(pem).map(Self).map_err(|e| Error::Unreadable { what: "private key", detail: e.to_string() })
    }

    /// Reads PKCS#8 DER.
    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let read = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der));
        read.map(Self).map_err(|e| Error::Unreadable { what: "private key", detail: e.to_string() })
    }

    /// PKCS#8 DER.
    pub(super) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_der())
    }

    /// PKCS#8 PEM.
    pub fn to_pem(&self) -> Secret<String> {
        self.0.serialize_pem().into()
    }

    /// SPKI PEM of the public half.
    pub fn public_pem(&self) -> String {
        self.0.public_key_pem()
    }

    /// SPKI DER of the public half.
    pub fn public_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// The public key itself: for P-256 the uncompressed point, 65 bytes.
    pub fn public_point(&self) -> &[u8] {
        self.0.public_key_raw()
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn a_key_survives_its_pem_and_is_pkcs8() {
        let key = Key::generate().unwrap();
        let pem = key.to_pem();
        assert!(pem.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(Key::from_pem(pem.expose()).unwrap().public_der(), key.public_der());
        assert_eq!(key.public_point().len(), 65);
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let words = |pem: &str| Key::from_pem(pem).unwrap_err().to_string();
        assert_eq!(words("garbage"), "holds no private key in PEM");
        assert!(
            words("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
                .contains("decrypt")
        );
        assert!(
            words("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
                .contains("not a readable private key")
        );
    }
}
