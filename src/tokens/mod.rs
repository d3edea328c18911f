//! Signing keys, claims, minting and verification of tokens. No files.

mod claimed;
mod claims;
mod external;
mod issuer_keys;
mod keys;
mod mapping;
mod mint;
mod readable;
mod refusal;
mod verify;

pub use claimed::claimed;
pub use claims::{Claims, Confirmation, Scope, Scopes, permissions};
pub use external::{ExternalRules, ExternalVerifier, issuer};
pub use issuer_keys::{ALGORITHMS, IssuerKeys};
pub use keys::{PublicKey, SigningKey, jwks, jwks_with, jwks_without, kids};
pub use mapping::{Granted, Mapping};
pub use mint::{Grant, mint};
pub use readable::readable;
pub use refusal::Refusal;
pub use verify::{Verified, Verifier, kid};

/// What can be wrong with keys and requests for tokens; a token that does not pass is a [`Refusal`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A signing key that can't be read or made.
    #[error(transparent)]
    Key(#[from] crate::pki::Error),
    /// A readable key of the wrong kind.
    #[error("is not a P-256 key, which ES256 needs")]
    NotP256,
    /// A JWKS that is not one.
    #[error("is not a JWKS (RFC 7517): {0}")]
    Jwks(String),
    /// A JWKS without a key tokens could be verified with.
    #[error("holds no usable key (EC P-256 with a kid): no token could pass")]
    NoKeys,
    /// Two keys of one name.
    #[error("holds two keys with kid {0:?}")]
    TwoKeys(String),
    /// A JWKS that Temporal would take nothing of.
    #[error("holds a key that Temporal can't read, {which}: {why}; it would take none of the others either")]
    Unreadable {
        /// Which of them.
        which: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A JWKS of another issuer without a key that can be used.
    #[error(
        "holds no key that can be used (a kid, for signatures, RSA of 2048 bits or more, EC P-256, P-384 or Ed25519)"
    )]
    NoIssuerKeys,
    /// A grant that can't be written into a token.
    #[error("failed to mint a token for {sub:?}: {reason}")]
    Grant {
        /// Whom it was for.
        sub: String,
        /// Why not.
        reason: String,
    },
}
