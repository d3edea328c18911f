//! The warden's own acts as records: what was done, and who asked for it.

use serde::Serialize;
use time::OffsetDateTime;

use super::{WARDEN, id, timestamp, to_line};

/// What the warden does on its own account; the name is the record's `method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Act {
    /// PID 1 starts.
    Start,
    /// PID 1 stops.
    Stop,
    /// Somebody asked for what is missing or due.
    MakeMissing,
    /// Somebody asked for new server, client and database certificates.
    GenerateCertificates,
    /// Somebody asked for requests, to have certificates signed elsewhere.
    RequestCertificates,
    /// Somebody installed certificates signed elsewhere.
    InstallCertificates,
    /// Somebody asked for a certificate of their own.
    IssueCertificate,
    /// Somebody asked for new tokens for the bundles.
    GenerateTokens,
    /// Somebody asked for a token of their own.
    MintToken,
    /// Somebody revoked a token, a subject or a certificate.
    Revoke,
    /// Somebody asked for a new CA.
    RotateCa,
    /// Somebody ended the trust in the CA before.
    RetireCa,
    /// Somebody asked for a new signing key.
    RotateKey,
    /// Somebody ended the trust in earlier signing keys.
    RetireKeys,
    /// Dependents were restarted or told of a change.
    TellDependents,
    /// Somebody asked by SIGHUP that everything is looked at again.
    Reload,
    /// Material was made and published, for whatever reason.
    Publish,
    /// New material came into force in the gateway.
    SwitchMaterial,
    /// A generation failed, and the last healthy one took its place, or why none did.
    RollBack,
    /// A namespace was registered.
    RegisterNamespace,
    /// A process that ended was started again.
    RestartChild,
    /// The audit log goes on in a new file; the old one was renamed by the warden.
    RotateAudit,
    /// The audit log goes on in a new file; the old one was renamed by somebody else.
    ReopenAudit,
}

/// Who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Nobody: a schedule, a failure, the start.
    Itself,
    /// Somebody who may signal PID 1: SIGHUP.
    Hangup,
    /// A command over the control socket, as the kernel names its process.
    Control {
        /// User id.
        uid: u32,
        /// Process id, in the warden's own PID namespace.
        pid: Option<i32>,
    },
    /// A command that did it itself, for no PID 1 runs.
    Command {
        /// User id.
        uid: u32,
    },
}

impl By {
    /// The command that runs now.
    pub fn this_command() -> Self {
        Self::Command { uid: nix::unistd::geteuid().as_raw() }
    }

    fn sub(self) -> String {
        match self {
            Self::Itself | Self::Hangup => "temporal-warden".to_owned(),
            Self::Control { uid, .. } | Self::Command { uid } => format!("uid:{uid}"),
        }
    }

    fn peer(self) -> String {
        match self {
            Self::Itself => "automatic".to_owned(),
            Self::Hangup => "SIGHUP".to_owned(),
            Self::Control { pid: Some(pid), .. } => format!("control.sock pid {pid}"),
            Self::Control { pid: None, .. } => "control.sock".to_owned(),
            Self::Command { .. } => "command".to_owned(),
        }
    }
}

#[derive(Serialize)]
struct Record<'a> {
    time: String,
    id: String,
    writer: &'static str,
    service: &'static str,
    method: Act,
    principal: Principal,
    peer: String,
    decision: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

#[derive(Serialize)]
struct Principal {
    sub: String,
}

/// The record of `act` at `at`; `detail` says what came of it.
pub(super) fn record(act: Act, by: By, detail: &str, at: OffsetDateTime) -> Vec<u8> {
    let record = Record {
        time: timestamp(at),
        id: id(at),
        writer: WARDEN,
        service: WARDEN,
        method: act,
        principal: Principal { sub: by.sub() },
        peer: by.peer(),
        decision: "allow",
        reason: detail,
    };
    // Strings only: this can't fail.
    to_line(&record).unwrap_or_default()
}
