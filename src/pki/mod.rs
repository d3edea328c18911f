//! X.509: authorities, leafs, inspection. No paths, no disk.
//!
//! Rules of every certificate made here (contract §1): P-256, 127 random bits in the serial, SKI and AKI, critical
//! BasicConstraints and KeyUsage, roots with `pathlen:1` (0 would forbid the cross-signed rollover) and a name no two
//! roots share, leafs backdated five minutes and authorities an hour.

mod authority;
mod boot;
mod chain;
mod inspect;
mod key;
mod leaf;
mod request;
mod sealed;

pub use authority::Authority;
pub(crate) use authority::trust;
pub use boot::{BOOT_SERVER_NAME, Boot};
pub use chain::{Purpose, verify};
pub use inspect::Certificate;
pub use key::Key;
pub use leaf::{Leaf, Profile};
pub use sealed::{Vault, is_sealed};

/// What can be wrong with certificates and keys. Messages read after the name of the file they are about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM file without what it should hold.
    #[error("holds no {0} in PEM")]
    NoPem(&'static str),
    /// PEM or DER that can't be read.
    #[error("is not a readable {what}: {detail}")]
    Unreadable {
        /// Certificate or private key.
        what: &'static str,
        /// The parser's words.
        detail: String,
    },
    /// An encrypted key, and no passphrase.
    #[error("is encrypted, and there is no passphrase for it")]
    NoPassphrase,
    /// An encrypted key that the passphrase does not open.
    #[error("is encrypted, and not by this passphrase (or damaged)")]
    WrongPassphrase,
    /// An encrypted key of a kind that is not read.
    #[error("is encrypted by {0}, which is not read here")]
    Cipher(String),
    /// Key and certificate of a pair do not belong together.
    #[error("is not the key of certificate {subject} (serial {serial})")]
    KeyMismatch {
        /// Subject of the certificate.
        subject: String,
        /// Its serial.
        serial: String,
    },
    /// A certificate that should sign others but may not.
    #[error("is not a CA certificate: {subject} has {lacks}")]
    NotAuthority {
        /// Subject of the certificate.
        subject: String,
        /// What is missing or wrong.
        lacks: &'static str,
    },
    /// A chain that leads to no trusted authority, or not for this use.
    #[error("{subject} {reason}")]
    Untrusted {
        /// Subject of the certificate.
        subject: String,
        /// Why, in words.
        reason: String,
    },
    /// The library refused to make something.
    #[error("failed to {operation}: {detail}")]
    Make {
        /// What was being made.
        operation: &'static str,
        /// The library's words.
        detail: String,
    },
}

impl Error {
    /// What to do about a CA key that can't be opened; `None` for all else.
    pub fn unsealing(&self) -> Option<&'static str> {
        match self {
            Self::NoPassphrase => Some("put its passphrase into a file and name that in WARDEN_CA_KEY_PASSPHRASE_FILE"),
            Self::WrongPassphrase => {
                Some("the file WARDEN_CA_KEY_PASSPHRASE_FILE names must hold the passphrase it was encrypted with")
            }
            Self::Cipher(_) => Some("convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW-KEY"),
            _ => None,
        }
    }

    fn make(operation: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |e| Self::Make { operation, detail: e.to_string() }
    }
}
