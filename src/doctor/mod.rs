//! Looks at a running deployment from the outside in, and says for each thing that is wrong the one thing to do.
//!
//! Every check stands on those before it: where the port does not answer, nothing is said about its certificate.

mod client;
mod docker;
mod door;
mod files;
mod issuer;
mod process;
mod volumes;

use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    admin::status::Status,
    config::{AuthMode, Config},
};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// In order.
    Good,
    /// It works, but is less safe or less sure than it could be.
    Warning,
    /// It does not work.
    Bad,
    /// Not looked at, and why.
    Skipped,
}

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// The outcome.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// The one thing to do, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, detail: detail.into(), fix: None }
    }

    fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skipped, detail: why.into(), fix: None }
    }

    fn warning(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn bad(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Bad, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// Everything, in order. `status` is what PID 1 says of itself, or why it says nothing; `address` is the door as
/// clients reach it, `host:port`.
pub async fn examine(
    config: &Config,
    status: Result<Status, String>,
    address: &str,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let mut findings = process::check(&status);
    findings.extend(files::check(config, now));
    findings.extend(volumes::check(config));
    let sight = status.as_ref().ok().and_then(|status| status.gateway.issuer.as_ref());
    findings.extend(issuer::check(sight, now));
    findings.extend(door::check(config, address).await);
    findings.extend(docker::check(config, status.as_ref().ok(), now).await);
    findings
}

/// Whether callers without a good token are refused at all.
fn enforces(config: &Config) -> bool {
    config.auth_enabled && config.gateway.auth_mode == AuthMode::Enforce
}
