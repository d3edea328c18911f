//! Whether the whole serves: a pure fold of phase, probe and audit log, and how `/health` says it.

use super::{
    beats::Stuck,
    link::{Health, Phase},
    listener::Workers,
    serving::{Serving, Shared},
};
use crate::config::{AuditFail, AuthMode, EngineKind};

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// Where PID 1's start is.
    pub phase: Phase,
    /// The last probe: `Ok`, or why not.
    pub probe: Result<String, String>,
    /// When the last probe that succeeded began, milliseconds of Unix time.
    pub probed_ms: i64,
    /// Probes in a row without any answer.
    pub silent: u32,
    /// A worker that does not turn.
    pub stuck: Option<Stuck>,
    /// Why the audit log can't be written.
    pub audit: Option<String>,
    /// Whether that refuses calls.
    pub audit_fail: AuditFail,
}

impl Parts {
    /// Before anything is known.
    pub(super) fn unknown(audit_fail: AuditFail) -> Self {
        let phase = Phase::Starting { doing: "starting".to_owned() };
        let probe = Err("not probed yet".to_owned());
        Self { phase, probe, probed_ms: 0, silent: 0, stuck: None, audit: None, audit_fail }
    }

    /// Why it does not serve; `None` = it serves.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.phase {
            Phase::Starting { doing } => return Some(doing.clone()),
            Phase::Stopping => return Some("stopping".to_owned()),
            Phase::Ready => {}
        }
        if let (Some(why), AuditFail::Closed) = (&self.audit, self.audit_fail) {
            return Some(format!("the audit log cannot be written: {why}"));
        }
        self.probe.as_ref().err().map(|why| format!("a call that reads the database failed: {why}"))
    }

    /// The report to PID 1.
    pub(super) fn report(&self, shared: &Shared) -> Health {
        let reason = self.reason();
        let (calls, denied) = shared.totals();
        let (Ok(detail) | Err(detail)) = &self.probe;
        Health {
            reported: true,
            serving: reason.is_none(),
            reason: reason.unwrap_or_default(),
            upstream_ok: self.probe.is_ok(),
            probed_ms: self.probed_ms,
            upstream_silent: self.silent,
            worker_silent: self.stuck.as_ref().map_or(0, |stuck| stuck.rounds),
            silent_worker: self.stuck.as_ref().map(|stuck| Workers::name(stuck.worker)).unwrap_or_default(),
            upstream_detail: detail.clone(),
            audit_ok: self.audit.is_none(),
            connections: shared.places.taken() as u64,
            calls,
            denied,
            issuer: shared.serving.load().issuer(shared.issuer.as_deref()),
        }
    }
}

/// The document of `/health`, and whether it says SERVING. Each part says for itself whether it is well, and why not.
pub(super) fn document(parts: &Parts, serving: &Serving, shared: &Shared) -> (bool, String) {
    let reason = parts.reason();
    let (phase, doing) = match &parts.phase {
        Phase::Starting { doing } => ("starting", Some(doing)),
        Phase::Ready => ("ready", None),
        Phase::Stopping => ("stopping", None),
    };
    let (Ok(probe) | Err(probe)) = &parts.probe;
    let mut document = serde_json::json!({
        "status": if reason.is_none() { "SERVING" } else { "NOT_SERVING" },
        "engine": serving.policy.engine,
        "tls": serving.tls.is_some(),
        "auth": if serving.policy.enabled { serde_json::json!(serving.policy.mode) } else { "disabled".into() },
        "phase": { "ok": phase == "ready", "is": phase, "detail": doing },
        "upstream": { "ok": parts.probe.is_ok(), "detail": probe },
        "audit": { "ok": parts.audit.is_none(), "detail": parts.audit, "fail": parts.audit_fail, "lost": shared.recorder.lost() },
        "material": serving.version,
        "generation": shared.snapshot.borrow().generation,
        "listeners": listeners(serving, shared),
        "connections": shared.places.taken(),
    });
    let warnings = warnings(serving);
    if !warnings.is_empty() {
        document["warnings"] = warnings.into();
    }
    if let Some(reason) = &reason {
        document["reason"] = reason.as_str().into();
    }
    (reason.is_none(), document.to_string())
}

/// The doors that are open, and how each speaks.
fn listeners(serving: &Serving, shared: &Shared) -> serde_json::Value {
    let main = if serving.tls.is_some() { "mtls" } else { "plaintext" };
    let mut listeners = serde_json::json!({ "main": main });
    if shared.hello.plaintext {
        listeners["plaintext"] = "plaintext".into();
    }
    if shared.hello.metrics {
        listeners["metrics"] = "http".into();
    }
    listeners
}

/// What is switched off, said each time.
fn warnings(serving: &Serving) -> Vec<&'static str> {
    let policy = &serving.policy;
    let all = [
        (!policy.enabled, "TEMPORAL_AUTH_ENABLED=false: no token is checked"),
        (serving.tls.is_none(), "TEMPORAL_TLS_ENABLED=false: port 7233 is not encrypted"),
        (policy.enabled && policy.mode == AuthMode::Report, "WARDEN_AUTH_MODE=report: refusals are only recorded"),
        (policy.engine == EngineKind::Dev, "engine dev has no authorizer of its own: only the gateway enforces"),
    ];
    all.into_iter().filter_map(|(on, text)| on.then_some(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Parts {
        Parts {
            phase: Phase::Ready,
            probe: Ok("ok".to_owned()),
            probed_ms: 0,
            silent: 0,
            stuck: None,
            audit: None,
            audit_fail: AuditFail::Closed,
        }
    }

    #[test]
    fn it_serves_only_when_every_part_does() {
        assert_eq!(good().reason(), None);
        let starting = Parts { phase: Phase::Starting { doing: "schema 3/14".to_owned() }, ..good() };
        assert_eq!(starting.reason().as_deref(), Some("schema 3/14"));
        assert_eq!(Parts { phase: Phase::Stopping, ..good() }.reason().as_deref(), Some("stopping"));
        let down = Parts { probe: Err("refused".to_owned()), ..good() };
        assert!(down.reason().is_some_and(|why| why.ends_with("refused")));
    }

    #[test]
    fn a_failing_audit_log_ends_service_only_when_it_refuses_calls() {
        let failing = Parts { audit: Some("disk full".to_owned()), ..good() };
        assert!(failing.reason().is_some_and(|why| why.contains("disk full")));
        assert_eq!(Parts { audit_fail: AuditFail::Open, ..failing }.reason(), None);
    }
}
