//! One line of the audit log (contract §6), without its place in the chain.

use std::borrow::Cow;

use serde::Serialize;

use crate::audit::to_line;

/// What happened. Absent members are left out.
#[derive(Debug, Serialize)]
pub(in crate::gateway) struct Record<'a> {
    /// When it began, RFC 3339 with microseconds, UTC.
    pub time: String,
    /// UUIDv7 of the same moment.
    pub id: String,
    /// Who writes: the gateway.
    pub writer: &'static str,
    /// gRPC service, or `http`, `tls`.
    pub service: &'a str,
    /// gRPC method, or HTTP method and path.
    pub method: &'a str,
    /// The request's namespace, when it could be read as it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// The workflow it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<&'a str>,
    /// Who asked.
    pub principal: Principal<'a>,
    /// Address of the client.
    pub peer: &'a str,
    /// `user-agent`, as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Why refused, broken off, or what would have been refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// gRPC status; HTTP status for plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u32>,
    /// HTTP status of what is not gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// From the first header to the last.
    pub duration_us: u64,
    /// Bytes of request messages.
    pub request_bytes: u64,
    /// Bytes of answer messages.
    pub response_bytes: u64,
    /// From a W3C `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// How many operations it stands for, where it is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Who asked: token and certificate.
#[derive(Debug, Default, Serialize)]
pub(in crate::gateway) struct Principal<'a> {
    /// `sub` of the token; of the certificate where no token is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<&'a str>,
    /// Scopes of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Cow<'static, str>>,
    /// Id of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'a str>,
    /// Key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<&'a str>,
    /// Issuer of the token, where that is not the warden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// Subject of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_subject: Option<&'a str>,
    /// Its serial, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_serial: Option<&'a str>,
    /// Its SHA-256, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_sha256: Option<&'a str>,
}

impl Record<'_> {
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers only: this can't fail, and an empty object would still be counted in the chain.
        to_line(self).unwrap_or_else(|_| br#"{"writer":"gateway"}"#.to_vec())
    }
}
