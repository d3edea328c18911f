//! Registering namespaces: the real CLI over the internal frontend, as data.

use std::time::Duration;

use super::{
    engine::Child,
    environment::{base, pair},
    settings::{INTERNAL_SERVER_NAME, InternalTls},
};
use crate::config::Temporal;

/// Longest time one attempt takes.
const ATTEMPT: &str = "10s";
/// Attempts before a namespace is given up; with the pauses some two minutes.
const ATTEMPTS: u32 = 12;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Registered now.
    Created,
    /// It was there.
    Existed,
    /// Not registered; the CLI's words.
    Failed(String),
}

/// What to do after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The namespace is registered.
    Done,
    /// Again after this pause.
    Again(Duration),
    /// Give up, with the reason.
    GiveUp(String),
}

/// The child that registers `name` at `admin`, the internal frontend.
pub fn create(temporal: &Temporal, admin: &str, tls: &InternalTls, name: &str) -> Child {
    let retention = format!("{}s", temporal.namespace_retention.as_secs());
    let args = ["operator", "namespace", "create", "-n", name, "--retention", &retention, "--command-timeout", ATTEMPT];
    let mut env = base(&temporal.data_dir);
    env.extend([
        pair("TEMPORAL_ADDRESS", admin),
        pair("TEMPORAL_TLS", "true"),
        pair("TEMPORAL_TLS_CLIENT_CERT_DATA", &tls.client_cert_pem),
        pair("TEMPORAL_TLS_CLIENT_KEY_DATA", tls.client_key_pem.expose()),
        pair("TEMPORAL_TLS_SERVER_CA_CERT_DATA", &tls.ca_pem),
        pair("TEMPORAL_TLS_SERVER_NAME", INTERNAL_SERVER_NAME),
    ]);
    let args = args.into_iter().chain(["--disable-config-file"]).map(str::to_owned).collect();
    Child { program: temporal.cli_program.clone(), args, env }
}

/// Reads the CLI's exit code and output.
pub fn outcome(exit_code: i32, output: &str) -> Outcome {
    if exit_code == 0 {
        return Outcome::Created;
    }
    if output.contains("already exists") || output.contains("already registered") {
        return Outcome::Existed;
    }
    let line = output.lines().find(|l| l.starts_with("Error")).or_else(|| output.lines().last());
    Outcome::Failed(line.unwrap_or("no output").trim().to_owned())
}

/// After attempt `attempt` (from 1) of registering `name`.
pub fn next(name: &str, attempt: u32, outcome: &Outcome) -> Next {
    match outcome {
        Outcome::Created | Outcome::Existed => Next::Done,
        Outcome::Failed(why) if attempt >= ATTEMPTS => Next::GiveUp(format!(
            "namespace {name:?} could not be registered in {attempt} attempts, the last one said: {why}"
        )),
        Outcome::Failed(_) => {
            Next::Again(crate::backoff::delay(Duration::from_millis(500), Duration::from_secs(15), attempt, 0.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_exists_is_a_success() {
        let said = "Error: unable to create namespace: Namespace already exists.\n";
        assert_eq!(outcome(1, said), Outcome::Existed);
        assert_eq!(next("default", 1, &Outcome::Existed), Next::Done);
    }

    #[test]
    fn a_failure_is_retried_with_growing_pauses_and_then_given_up_with_its_reason() {
        let failed = outcome(1, "Error: failed connecting: connection refused\nmore\n");
        assert_eq!(failed, Outcome::Failed("Error: failed connecting: connection refused".into()));
        assert_eq!(next("a", 1, &failed), Next::Again(Duration::from_millis(500)));
        assert_eq!(next("a", 3, &failed), Next::Again(Duration::from_secs(2)));
        assert!(matches!(next("a", ATTEMPTS, &failed), Next::GiveUp(why) if why.contains("connection refused")));
    }
}
