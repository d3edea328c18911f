//! The one list of metrics: name, type, labels, meaning. The page in `docs/operations.md` is made from it.

/// What kind of numbers a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

impl Kind {
    /// Its word in the exposition.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name as scraped.
    pub name: &'static str,
    /// Kind of numbers.
    pub kind: Kind,
    /// Label names, in the order of the exposition.
    pub labels: &'static [&'static str],
    /// Meaning, one sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        $(pub(super) const $constant: Metric = Metric {
            name: concat!("temporal_warden_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// Every metric, in the order of the exposition.
        pub static LIST: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    INFO Gauge "info" ["version", "engine"] "Always 1: version of the warden and engine behind it."
    SERVING Gauge "serving" [] "1 while /health says SERVING."
    CALLS Counter "calls_total" ["method", "code", "scope"] "gRPC calls that ended. A method that is not in the table of methods is `other`; scope is what the token holds, `none` without a token."
    DENIALS Counter "denials_total" ["reason"] "Calls the gateway refused."
    OPEN_STREAMS Gauge "open_streams" [] "gRPC calls in flight, long polls included."
    ADDED Histogram "added_latency_seconds" [] "Time forwarded calls spent in the gateway: from the request's head to the upstream's stream, and from the upstream's last frame to the answer's. Waiting for the upstream does not count."
    REQUEST_BYTES Counter "request_bytes_total" [] "Bytes of request messages of calls that ended."
    RESPONSE_BYTES Counter "response_bytes_total" [] "Bytes of answer messages of calls that ended."
    CONNECTIONS Gauge "connections" [] "Open client connections."
    ACCEPTED Counter "connections_accepted_total" [] "Client connections accepted."
    HANDSHAKES_FAILED Counter "handshakes_failed_total" ["reason"] "TLS handshakes that failed."
    LIMITS Counter "limit_hits_total" ["limit"] "How often a limit refused a call or ended a connection."
    UPSTREAM_UP Gauge "upstream_up" [] "1 while the last probe that reads the database succeeded."
    UPSTREAM_PROBED Gauge "upstream_probe_success_timestamp_seconds" [] "When the last probe that succeeded began, Unix time; 0 before the first."
    UPSTREAM_CONNECTIONS Gauge "upstream_connections" [] "Open connections to the Temporal frontend."
    UPSTREAM_DIAL_FAILURES Counter "upstream_dial_failures_total" [] "Attempts to connect to the Temporal frontend that failed."
    EXTERNAL_KEYS Gauge "external_keys" [] "Keys at hand of the external issuer; 0 when there are none or no issuer."
    EXTERNAL_FETCHED Gauge "external_keys_fetch_success_timestamp_seconds" [] "When they were last fetched, Unix time; 0 before the first, and where they come from a file."
    EXTERNAL_FETCHES Counter "external_keys_fetches_total" ["outcome"] "Attempts to fetch them: `ok` or `failed`."
    AUDIT_FAILING Gauge "audit_failing" [] "1 while audit records cannot be written."
    AUDIT_LAG Gauge "audit_lag_records" [] "Audit records handed over and not yet written."
    AUDIT_LOST Counter "audit_lost_total" [] "Operations without an audit record (only with WARDEN_AUDIT_FAIL=open, or of health checks and failed handshakes)."
    MATERIAL Gauge "material_version" [] "Version of certificates, keys and revocations in force in this gateway process."
    GENERATION Gauge "generation" [] "Generation of WARDEN_CERTS_DIR that PID 1 has in force."
    CERTIFICATE_EXPIRY Gauge "certificate_expiry_timestamp_seconds" ["file"] "End of a certificate, Unix time."
    TOKEN_EXPIRY Gauge "token_expiry_timestamp_seconds" ["file"] "End of a token, Unix time."
    CHILD_UP Gauge "child_up" ["child"] "1 while the process runs and is ready."
    CHILD_RESTARTS Counter "child_restarts_total" ["child"] "Restarts of a process since PID 1 started."
}

/// The table of `docs/operations.md`.
pub fn page() -> String {
    let mut page = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in LIST {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (metric.kind.word(), labels.join(", "));
        page.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", metric.name, metric.help));
    }
    page
}
