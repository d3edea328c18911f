//! Encrypted private keys: `EncryptedPrivateKeyInfo` (RFC 5958 §3) by PBES2 (RFC 8018 §6.2), as OpenSSL writes them.
//!
//! Read: PBKDF2 with HMAC-SHA-1, -256, -384 or -512, and AES-CBC. Written: PBKDF2-HMAC-SHA-256 and AES-256-CBC.

use std::{cell::RefCell, num::NonZeroU32};

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2,
};
use x509_parser::der_parser::{ber::BerObject, der::parse_der};
use zeroize::Zeroizing;

use super::{Error, Key, leaf::random};
use crate::secret::Secret;

/// What a sealed key begins with.
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// Rounds of the derivation, as OWASP advises for this function (2023).
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// More than this is a file that was made to hold us up.
const MOST_ROUNDS: u32 = 20_000_000;
const SALT: usize = 16;

const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const SCRYPT: &[u8] = b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b";
const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";

/// Opens and seals the CA key with one passphrase. A text is opened once: the derivation is slow on purpose.
pub struct Vault {
    passphrase: Option<Secret<String>>,
    opened: RefCell<Vec<(String, Secret<String>)>>,
}

impl Vault {
    /// With a passphrase, or without one.
    pub fn new(passphrase: Option<Secret<String>>) -> Self {
        Self { passphrase, opened: RefCell::default() }
    }

    /// Whether keys are to be sealed.
    pub fn seals(&self) -> bool {
        self.passphrase.is_some()
    }

    /// The PEM of a key in clear, whether it was sealed or not.
    pub fn open(&self, pem: &str) -> Result<Secret<String>, Error> {
        if !is_sealed(pem) {
            return Ok(Secret::new(pem.to_owned()));
        }
        if let Some((_, clear)) = self.opened.borrow().iter().find(|(sealed, _)| sealed == pem) {
            return Ok(clear.clone());
        }
        let clear = open(pem, self.passphrase.as_ref().ok_or(Error::NoPassphrase)?)?;
        self.opened.borrow_mut().push((pem.to_owned(), clear.clone()));
        Ok(clear)
    }

    /// The PEM of a key as it is to be written: sealed where there is a passphrase.
    pub fn close(&self, clear: &Secret<String>) -> Result<Secret<String>, Error> {
        let Some(passphrase) = &self.passphrase else { return Ok(clear.clone()) };
        let sealed = seal(clear, passphrase)?;
        self.opened.borrow_mut().push((sealed.clone(), clear.clone()));
        Ok(Secret::new(sealed))
    }
}

/// Whether the PEM holds an encrypted key, in PKCS#8 or in OpenSSL's older form.
pub fn is_sealed(pem: &str) -> bool {
    pem.contains("PRIVATE KEY-----") && pem.contains("ENCRYPTED")
}

fn open(pem: &str, passphrase: &Secret<String>) -> Result<Secret<String>, Error> {
    if !pem.contains(&format!("-----BEGIN {LABEL}-----")) {
        return Err(Error::Cipher("OpenSSL's older form, not in PKCS#8".to_owned()));
    }
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| malformed("no PEM"))?;
    let sealed = Sealed::parse(&block.contents)?;
    let mut bytes = Zeroizing::new(sealed.ciphertext.to_vec());
    let key = sealed.derive(passphrase)?;
    let iv = FixedLength::<16>::try_from(sealed.iv).map_err(|_| malformed("an IV of another length than 16"))?;
    let cipher = UnboundCipherKey::new(sealed.cipher, &key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let cipher = cipher.map_err(|_| malformed("a key of another length than its cipher's"))?;
    let clear = cipher.decrypt(&mut bytes, DecryptionContext::Iv128(iv)).map_err(|_| Error::WrongPassphrase)?;
    // By chance a wrong passphrase gives good padding, once in 256 times.
    Key::from_pkcs8(clear).map(|key| key.to_pem()).map_err(|_| Error::WrongPassphrase)
}

fn seal(clear: &Secret<String>, passphrase: &Secret<String>) -> Result<String, Error> {
    let (salt, iv) = (random::<SALT>()?, random::<16>()?);
    let mut bytes = Key::from_pem(clear.expose())?.to_pkcs8();
    // Padding must not move the key to another place and leave it behind in clear.
    bytes.reserve_exact(2 * AES_256.block_len());
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, passphrase.expose().as_bytes(), &mut key[..]);
    let cipher = UnboundCipherKey::new(&AES_256, &key[..]).and_then(PaddedBlockEncryptingKey::cbc_pkcs7);
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    let sealed = cipher.and_then(|cipher| cipher.less_safe_encrypt(&mut *bytes, context));
    sealed.map_err(|_| Error::Make { operation: "encrypt the CA key", detail: "the cipher failed".to_owned() })?;
    let prf = sequence(&[tlv(OID, HMAC_SHA256), tlv(NULL, b"")]);
    let rounds = tlv(INTEGER, &integer(ROUNDS.get()));
    let kdf = sequence(&[tlv(OID, PBKDF2), sequence(&[tlv(OCTETS, &salt), rounds, prf])]);
    let cipher = sequence(&[tlv(OID, AES_256_CBC), tlv(OCTETS, &iv)]);
    let how = sequence(&[tlv(OID, PBES2), sequence(&[kdf, cipher])]);
    Ok(super::inspect::pem(LABEL, &sequence(&[how, tlv(OCTETS, &bytes)])))
}

/// `EncryptedPrivateKeyInfo` taken apart.
struct Sealed<'a> {
    salt: &'a [u8],
    rounds: NonZeroU32,
    prf: pbkdf2::Algorithm,
    cipher: &'static Algorithm,
    key_len: usize,
    iv: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, Error> {
        let (_, outer) = parse_der(der).map_err(|_| malformed("no DER"))?;
        let [how, ciphertext] = parts(&outer)?;
        let [scheme, parameters] = parts(how)?;
        match oid(scheme)? {
            PBES2 => {}
            _ => return Err(Error::Cipher("a scheme that is not PBES2".to_owned())),
        }
        let [kdf, cipher] = parts(parameters)?;
        let ([kdf, kdf_parameters], [cipher, iv]) = (parts(kdf)?, parts(cipher)?);
        match oid(kdf)? {
            PBKDF2 => {}
            SCRYPT => return Err(Error::Cipher("scrypt".to_owned())),
            _ => return Err(Error::Cipher("a key derivation that is not PBKDF2".to_owned())),
        }
        let (cipher, key_len) = cipher_of(oid(cipher)?)?;
        let (salt, rounds, prf) = derivation(kdf_parameters)?;
        Ok(Self { salt, rounds, prf, cipher, key_len, iv: octets(iv)?, ciphertext: octets(ciphertext)? })
    }

    fn derive(&self, passphrase: &Secret<String>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut key = Zeroizing::new(vec![0; self.key_len]);
        pbkdf2::derive(self.prf, self.rounds, self.salt, passphrase.expose().as_bytes(), &mut key);
        Ok(key)
    }
}

/// `PBKDF2-params` (RFC 8018 §A.2): salt, rounds, a key length that the cipher says too, and a function.
fn derivation<'a>(parameters: &BerObject<'a>) -> Result<(&'a [u8], NonZeroU32, pbkdf2::Algorithm), Error> {
    let all = parameters.as_sequence().map_err(|_| malformed("PBKDF2 without parameters"))?;
    let [salt, rounds, rest @ ..] = all.as_slice() else { return Err(malformed("PBKDF2 without parameters")) };
    let rounds = rounds.as_u32().ok().filter(|rounds| *rounds <= MOST_ROUNDS).and_then(NonZeroU32::new);
    let rounds = rounds.ok_or_else(|| malformed("a number of PBKDF2 rounds out of bounds"))?;
    let prf = match rest.iter().find_map(|part| part.as_sequence().ok()) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(prf) => match oid(prf.first().ok_or_else(|| malformed("an empty function"))?)? {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x07] => pbkdf2::PBKDF2_HMAC_SHA1,
            HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0a] => pbkdf2::PBKDF2_HMAC_SHA384,
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x0b] => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(Error::Cipher("a PBKDF2 function that is none of HMAC-SHA-1 to -512".to_owned())),
        },
    };
    Ok((octets(salt)?, rounds, prf))
}

fn cipher_of(oid: &[u8]) -> Result<(&'static Algorithm, usize), Error> {
    match oid {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02] => Ok((&AES_128, 16)),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x16] => Ok((&AES_192, 24)),
        AES_256_CBC => Ok((&AES_256, 32)),
        _ => Err(Error::Cipher("a cipher that is not AES-CBC".to_owned())),
    }
}

fn parts<'r, 'a, const N: usize>(object: &'r BerObject<'a>) -> Result<[&'r BerObject<'a>; N], Error> {
    let all: Vec<_> = object.as_sequence().map_err(|_| malformed("no sequence where one must be"))?.iter().collect();
    all.try_into().map_err(|_| malformed("a sequence of another length"))
}

fn oid<'r>(object: &'r BerObject<'_>) -> Result<&'r [u8], Error> {
    object.as_oid().map(|oid| oid.as_bytes()).map_err(|_| malformed("no identifier where one must be"))
}

fn octets<'a>(object: &BerObject<'a>) -> Result<&'a [u8], Error> {
    match object.content {
        x509_parser::der_parser::ber::BerObjectContent::OctetString(bytes) => Ok(bytes),
        _ => Err(malformed("no octets where some must be")),
    }
}

fn malformed(detail: &str) -> Error {
    Error::Unreadable { what: "encrypted private key", detail: detail.to_owned() }
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// DER (X.690 §10.1): tag, shortest length, content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![tag];
    match *length {
        [] => der.push(0),
        [short] if short < 0x80 => der.push(short),
        _ => {
            der.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            der.extend(length);
        }
    }
    der.extend(content);
    der
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// The content of a positive DER integer: no leading zero but the one that keeps it positive.
fn integer(n: u32) -> Vec<u8> {
    let bytes: Vec<u8> = n.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|first| *first >= 0x80) { [&[0][..], &bytes].concat() } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(passphrase: &str) -> Vault {
        Vault::new(Some(Secret::new(passphrase.to_owned())))
    }

    #[test]
    fn what_was_sealed_opens_by_its_passphrase_only() {
        let clear = Key::generate().unwrap().to_pem();
        let sealed = vault("correct horse").close(&clear).unwrap();
        assert!(is_sealed(sealed.expose()) && !sealed.expose().contains("BEGIN PRIVATE KEY"));
        assert_eq!(vault("correct horse").open(sealed.expose()).unwrap(), clear);
        let refused = |vault: Vault| vault.open(sealed.expose()).unwrap_err().to_string();
        assert_eq!(refused(vault("wrong")), "is encrypted, and not by this passphrase (or damaged)");
        assert_eq!(refused(Vault::new(None)), "is encrypted, and there is no passphrase for it");
    }

    #[test]
    fn a_key_in_clear_passes_and_stays_clear_without_a_passphrase() {
        let clear = Key::generate().unwrap().to_pem();
        let none = Vault::new(None);
        assert_eq!(none.open(clear.expose()).unwrap(), clear);
        assert_eq!(none.close(&clear).unwrap(), clear);
        assert_eq!(vault("any").open(clear.expose()).unwrap(), clear);
    }

    #[test]
    fn no_cut_or_flipped_byte_of_a_sealed_key_does_more_than_be_refused() {
        let sealed = seal(&Key::generate().unwrap().to_pem(), &Secret::new("pass".to_owned())).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(sealed.as_bytes()).unwrap();
        let head = block.contents.len() - 150;
        for at in 0..head {
            let cut = super::super::inspect::pem(LABEL, &block.contents[..at]);
            assert!(
                Sealed::parse(
                    &x509_parser::pem::parse_x509_pem(cut.as_bytes()).map_or(Vec::new(), |(_, b)| b.contents)
                )
                .is_err()
            );
            let mut flipped = block.contents.clone();
            flipped[at] ^= 0x41;
            // Without deriving: a flipped number of rounds may be large, and is allowed to be.
            let _ = Sealed::parse(&flipped);
        }
    }

    #[test]
    fn der_lengths_and_integers_are_the_shortest() {
        assert_eq!(tlv(OCTETS, b""), [4, 0]);
        assert_eq!(tlv(OCTETS, &[0; 127])[..2], [4, 127]);
        assert_eq!(tlv(OCTETS, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(OCTETS, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!((integer(600_000), integer(0x80), integer(0)), (vec![9, 0x27, 0xc0], vec![0, 0x80], vec![0]));
    }
}
