//! What changed between two configurations, and what it takes for that to come into force. Pure.

use std::fmt;

use super::{
    errors::Errors,
    load::{Loaded, known_keys},
};

/// When a changed setting comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// At the reload itself.
    Now,
    /// With a new gateway process, which the reload starts: calls in flight finish, connections wait.
    Gateway,
    /// With a new Temporal process, which the reload starts: calls wait.
    Temporal,
    /// At the next start of the container.
    Container,
}

/// Settings that a running warden takes over; every other one waits for the container's next start.
const LIVE: &[(&str, Effect)] = &[
    ("auth_mode", Effect::Now),
    ("policy_file", Effect::Now),
    ("server_sans", Effect::Now),
    ("postgres_sans", Effect::Now),
    ("publish_gid", Effect::Now),
    ("postgres_gid", Effect::Now),
    ("ca_ttl", Effect::Now),
    ("cert_ttl", Effect::Now),
    ("token_ttl", Effect::Now),
    ("token_binding", Effect::Now),
    ("lock_timeout", Effect::Now),
    ("dependent_timeout", Effect::Now),
    ("temporal.DOCKER_HOST", Effect::Now),
    ("external_audience", Effect::Now),
    ("external_algorithms", Effect::Now),
    ("external_leeway", Effect::Now),
    ("external_subject_claim", Effect::Now),
    ("external_scope_claim", Effect::Now),
    ("external_scopes", Effect::Now),
    ("external_namespaces_claim", Effect::Now),
    ("external_namespaces", Effect::Now),
    ("external_issuer", Effect::Gateway),
    ("external_jwks_url", Effect::Gateway),
    ("external_jwks_file", Effect::Gateway),
    ("external_ca_file", Effect::Gateway),
    ("external_allow_http", Effect::Gateway),
    ("external_refresh", Effect::Gateway),
    ("external_retry", Effect::Gateway),
    ("external_stale", Effect::Gateway),
    ("log_level", Effect::Gateway),
    ("gateway_threads", Effect::Gateway),
    ("max_connections", Effect::Gateway),
    ("max_connections_per_address", Effect::Gateway),
    ("max_streams", Effect::Gateway),
    ("handshake_timeout", Effect::Gateway),
    ("upstream_wait", Effect::Gateway),
    ("audit_stdout", Effect::Gateway),
    ("audit_sync", Effect::Gateway),
    ("audit_fail", Effect::Gateway),
    ("upstream", Effect::Gateway),
    ("upstream_tls_ca", Effect::Gateway),
    ("upstream_tls_cert", Effect::Gateway),
    ("upstream_tls_key", Effect::Gateway),
    ("upstream_tls_server_name", Effect::Gateway),
    ("temporal_server", Effect::Temporal),
    ("dynamic_config_file", Effect::Temporal),
    ("temporal.LOG_LEVEL", Effect::Temporal),
    ("temporal.POSTGRES_PWD", Effect::Temporal),
    ("temporal.POSTGRES_PWD_FILE", Effect::Temporal),
    ("temporal.SQL_CA", Effect::Temporal),
    ("temporal.SQL_CERT", Effect::Temporal),
    ("temporal.SQL_CERT_KEY", Effect::Temporal),
    ("temporal.SQL_HOST_VERIFICATION", Effect::Temporal),
];

/// When a change of the setting `key` comes into force.
fn effect(key: &str) -> Effect {
    LIVE.iter().find(|(known, _)| *known == key).map_or(Effect::Container, |(_, effect)| *effect)
}

/// The same where only the content of the file changed that it names.
fn effect_of_content(key: &str) -> Effect {
    if key == "external_jwks_file" { Effect::Now } else { effect(key) }
}

/// A setting that is another now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its variable.
    pub name: String,
    /// Both values as they may be shown; `None` when the content of the file it names changed.
    pub values: Option<(String, String)>,
    /// When that comes into force.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.effect {
            Effect::Now => "in force at a reload",
            Effect::Gateway => "a reload restarts the gateway",
            Effect::Temporal => "a reload restarts Temporal",
            Effect::Container => "needs a restart of the container",
        };
        match &self.values {
            Some((before, after)) => write!(f, "{}: {before:?} -> {after:?} ({when})", self.name),
            None => write!(f, "{}: the file has another content ({when})", self.name),
        }
    }
}

/// What is different in `next`, in the order of `default.toml`.
pub fn between(now: &Loaded, next: &Loaded) -> Vec<Change> {
    let contents = now.same_contents(next);
    let same_content = |key: &str| contents.iter().all(|(name, same)| *name != key || *same);
    let keys = known_keys().into_iter();
    let changed = keys.filter_map(|key| {
        let (before, after) = (now.setting(&key)?, next.setting(&key)?);
        let values = (before.text != after.text).then(|| (before.public(), after.public()));
        let changed = values.is_some() || (after.given().is_some() && !same_content(&key));
        let effect = if values.is_some() { effect(&key) } else { effect_of_content(&key) };
        changed.then_some(Change { name: after.name, values, effect })
    });
    changed.collect()
}

/// `next` as far as a running warden can take it over: what needs a restart of the container stays as it is.
pub fn adopt(now: &Loaded, next: &Loaded) -> Result<Loaded, Errors> {
    now.taking(next, |key| effect(key) == Effect::Container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_with_an_effect_exists() {
        let known = known_keys();
        let unknown: Vec<_> = LIVE.iter().filter(|(key, _)| !known.iter().any(|k| k == key)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn what_is_not_known_to_be_harmless_needs_a_restart_of_the_container() {
        assert_eq!(effect("certs_dir"), Effect::Container);
        assert_eq!(effect("temporal.TEMPORAL_AUTH_ENABLED"), Effect::Container);
    }
}
