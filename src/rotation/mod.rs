//! What is due (`plan`) and doing it (`apply`).
//!
//! One line for everything: snapshot → `judge` → `plan` (pure) → `make` → publish → bundles → [`Live`]. A first
//! start, an automatic renewal and `generate-certs.sh` differ only in the plan.

mod apply;
mod artefact;
mod authority;
mod bundles;
mod csr;
mod doubt;
mod inputs;
mod install;
mod issue;
mod judge;
mod leafs;
mod live;
mod make;
mod overlap;
mod plan;
mod put_back;
mod report;
mod signing;
mod state;
mod successor;
mod summary;
mod wish;

pub use apply::{
    apply, apply_with, at_start, current_generation, healthy_generation, install, make_alone, note_healthy, put_back,
    revoke,
};
pub use artefact::CA_CERT;
pub use bundles::{BundleReport, BundleState};
pub use csr::{Csr, CsrWish, requests};
pub use doubt::{Glance, Sight, Watch, at_start as doubt_at_start};
pub use install::{Installation, Signed};
pub use issue::{IssueWish, Issued, issue};
pub use live::{Live, Pair};
pub use plan::{KeyChoice, Request};
pub use put_back::PutBack;
pub use report::{Artefact, Report, State, inspect};
pub use state::{Change, Published};
pub use summary::Summary;
pub use wish::{Wish, mint, minted, serial_of, verify_external, verify_token};

use std::{fmt, path::PathBuf};

/// One file or pair that can't be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is about.
    pub path: PathBuf,
    /// What is wrong, read after the path.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.path.display(), self.what, self.fix)
    }
}

/// Why material could not be made, read or published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Material that is there and can't be used; nothing was changed.
    #[error("{}", lines(.0))]
    Refused(Vec<Problem>),
    /// The folders.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// Making a certificate or key.
    #[error("{path} {source}")]
    Pki {
        /// What was being made or read.
        path: String,
        /// Why it failed.
        source: crate::pki::Error,
    },
    /// Making a token or its key.
    #[error("{path} {source}")]
    Token {
        /// What was being made or read.
        path: String,
        /// Why it failed.
        source: crate::tokens::Error,
    },
    /// A generation fails, and none can take its place.
    #[error("generation {generation} stays although it fails: {reason}")]
    Stays {
        /// Its number.
        generation: u64,
        /// Why no earlier one is put back.
        reason: String,
    },
    /// Anything else that was being made.
    #[error("failed to make {path}: {reason}")]
    Make {
        /// What was being made.
        path: String,
        /// Why it failed.
        reason: String,
    },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What happens while material is made, for the log. `Display` is the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Certificates are about to be made.
    GeneratingCertificates,
    /// They are published.
    CertificatesGenerated,
    /// Tokens or their key are about to be made.
    GeneratingTokens,
    /// They are published.
    TokensGenerated,
    /// One file or pair was made.
    Made {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A certificate that somebody else signed took its place.
    Installed {
        /// Its name.
        name: String,
        /// Who signed it, and until when.
        what: String,
    },
    /// An earlier generation took the place of one that failed.
    PutBack(PutBack),
    /// Flat files found in the folder became a generation.
    Adopted(Vec<String>),
    /// The set was published.
    Published {
        /// Its generation.
        generation: u64,
    },
    /// A mode, group or link was put right.
    Repaired(String),
    /// A bundle was written or could not be.
    Bundle(BundleReport),
    /// Something the user should look at.
    Warning(String),
}

impl Event {
    /// Into the log, as loud as it is.
    pub fn log(&self) {
        match self {
            Self::Warning(_) | Self::PutBack(_) => tracing::warn!("{self}"),
            Self::Bundle(BundleReport { state: BundleState::Failed(_), .. }) => tracing::warn!("{self}"),
            _ => tracing::info!("{self}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GeneratingCertificates => f.write_str("Generating Temporal TLS certificates..."),
            Self::CertificatesGenerated => f.write_str("✅ Temporal TLS certificates generated successfully"),
            Self::GeneratingTokens => f.write_str("Generating Temporal JWT tokens..."),
            Self::TokensGenerated => f.write_str("✅ Temporal JWT tokens generated successfully"),
            Self::Made { name, reason } => write!(f, "made {name}: {reason}"),
            Self::Installed { name, what } => write!(f, "installed {name}: {what}"),
            Self::PutBack(PutBack { refused, healthy, why, .. }) => {
                write!(
                    f,
                    "generation {refused} fails, the files of generation {healthy} are published in its place: {why}"
                )
            }
            Self::Adopted(names) => write!(f, "took over files found in the folder: {}", names.join(", ")),
            Self::Published { generation } => write!(f, "published generation {generation}"),
            Self::Repaired(what) | Self::Warning(what) => f.write_str(what),
            Self::Bundle(report) => report.fmt(f),
        }
    }
}
