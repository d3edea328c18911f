//! What a caller may do: a pure decision from the table, the token and the policy.

use std::sync::Arc;

use super::{
    authenticate::{Bad, Presented},
    groups,
    link::Rule,
    methods::{Access, METHODS, Method},
    metrics::Denial,
};
use crate::{
    config::{AuthMode, EngineKind},
    tokens::{Confirmation, Scope, Scopes, Verified},
};

/// What is the same for every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    /// `TEMPORAL_AUTH_ENABLED`.
    pub enabled: bool,
    /// Enforce or only report.
    pub mode: AuthMode,
    /// What stands behind the gateway.
    pub engine: EngineKind,
    /// `WARDEN_TOKEN_BINDING`.
    pub binding: bool,
    /// What is opened beyond the table.
    pub rules: Vec<Rule>,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The token.
    pub presented: &'a Presented,
    /// What the connection's certificate shows, if it has one.
    pub certificate: Option<&'a Confirmation>,
    /// Whether that certificate was revoked.
    pub revoked: bool,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Status 16.
    Unauthorized(Bad),
    /// Status 7.
    Forbidden(String),
    /// Status 8, in the words of Temporal's own refusal: SDKs know them.
    TooLarge {
        /// Bytes of the message.
        length: usize,
        /// Most of them.
        limit: usize,
    },
    /// Status 14: what the decision needs can't be had now.
    Unavailable(String),
    /// Status 14: the certificate of the *connection* was revoked. It is about to end, and the next handshake asks for
    /// a certificate again: a client that has the successor by then fails no call, another stays out there. (16 would
    /// be final to every SDK.)
    Revoked,
}

/// What becomes of the `authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// It goes on as it came.
    Keep,
    /// It would not pass and is removed, so that the reason reaches the user on a call that needs it.
    Remove,
    /// It would be refused but is served (`report` mode, or a rule that opens what Temporal keeps to its administrators): the
    /// upstream must not refuse it either.
    Override,
}

/// The decision on one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Served; in `report` mode with the reason for which it would have been refused.
    Allow {
        /// What happens to the header.
        token: Token,
        /// Why it would be refused.
        reported: Option<Refusal>,
    },
    /// Refused.
    Deny(Refusal),
}

impl Refusal {
    /// The gRPC status.
    pub(super) fn status(&self) -> u32 {
        match self {
            Self::Unauthorized(_) => 16,
            Self::Forbidden(_) => 7,
            Self::TooLarge { .. } => 8,
            Self::Unavailable(_) | Self::Revoked => 14,
        }
    }

    /// How it is counted.
    pub(super) fn class(&self) -> Denial {
        match self {
            Self::Unauthorized(bad) => bad.class,
            Self::Forbidden(_) => Denial::Forbidden,
            Self::TooLarge { .. } => Denial::TooLarge,
            Self::Unavailable(_) => Denial::Undecided,
            Self::Revoked => Denial::RevokedCertificate,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unauthorized(bad) => write!(f, "Unauthorized: {}", bad.why),
            Self::Forbidden(why) => write!(f, "Forbidden: {why}"),
            Self::TooLarge { length, limit } => {
                write!(f, "grpc: received message larger than max ({length} vs. {limit})")
            }
            Self::Unavailable(why) => f.write_str(why),
            Self::Revoked => f.write_str("the client certificate was revoked"),
        }
    }
}

/// Decides on a call to `path`, whose row is `method`.
pub(super) fn judge(policy: &Policy, method: Option<&Method>, path: &str, caller: Caller<'_>) -> Verdict {
    if caller.revoked {
        return Verdict::Deny(Refusal::Revoked);
    }
    if !policy.enabled {
        return Verdict::Allow { token: Token::Keep, reported: None };
    }
    let access = method.map_or(Access::System, |row| row.access);
    if access == Access::Open {
        let token = if matches!(caller.presented, Presented::Token(_)) { Token::Keep } else { Token::Remove };
        return Verdict::Allow { token, reported: None };
    }
    match (check(policy, access, path, caller), policy.mode) {
        (Ok(token), _) => Verdict::Allow { token, reported: None },
        (Err(refusal), AuthMode::Enforce) => Verdict::Deny(refusal),
        (Err(refusal), AuthMode::Report) => Verdict::Allow { token: Token::Override, reported: Some(refusal) },
    }
}

/// Whether the bearer of `token` may call the method `name`, with or without its service; the refusal in words.
pub fn may_call(token: Verified, name: &str, rules: Vec<Rule>, binding: bool) -> Result<(), String> {
    let name = name.trim_start_matches('/');
    let row = METHODS.iter().find(|row| row.name == name && row.service.ends_with("WorkflowService"));
    let row = row.or_else(|| METHODS.iter().find(|row| row.name == name));
    let path = row.map_or_else(|| format!("/{name}"), |row| format!("/{}/{}", row.service, row.name));
    let policy = Policy { enabled: true, mode: AuthMode::Enforce, engine: EngineKind::Server, binding, rules };
    let certificate = token.cnf_x5t.clone();
    let presented = Presented::Token(Arc::new(token));
    let caller = Caller { presented: &presented, certificate: certificate.as_ref(), revoked: false };
    match judge(&policy, Method::of(&path), &path, caller) {
        Verdict::Allow { .. } => Ok(()),
        Verdict::Deny(refusal) => Err(refusal.to_string()),
    }
}

fn check(policy: &Policy, access: Access, path: &str, caller: Caller<'_>) -> Result<Token, Refusal> {
    let token = match caller.presented {
        Presented::Undecided(bad) => return Err(Refusal::Unavailable(bad.why.clone())),
        Presented::Nothing => {
            let why = "no token: send the header `authorization: Bearer TOKEN`";
            return Err(unauthorized(Denial::NoToken, why));
        }
        Presented::Refused(bad) => return Err(Refusal::Unauthorized(bad.clone())),
        Presented::Token(token) => token,
    };
    is_bound_here(policy, token, caller.certificate).map_err(|why| unauthorized(Denial::Forbidden, why))?;
    let held = here(token, path);
    // The table first: rules are looked at only where it refuses.
    if access.allows(held) {
        // Reading only, of what Temporal shows to its administrators only.
        let above = groups::is_for_administrators(path) && !access.allows(token.scopes);
        return Ok(if above { Token::Override } else { Token::Keep });
    }
    if !policy.rules.iter().any(|rule| rule.opens(path, token, held)) {
        return Err(Refusal::Forbidden(forbidden(token, path, access)));
    }
    // A token of some namespaces stays as it is: what follows refuses it for the whole cluster.
    let whole = token.namespaces.is_none();
    Ok(if whole && groups::is_for_administrators(path) { Token::Override } else { Token::Keep })
}

fn unauthorized(class: Denial, why: &str) -> Refusal {
    Refusal::Unauthorized(Bad { class, why: why.to_owned() })
}

/// RFC 8705 §3: whoever has the token must have the certificate too, or its key.
fn is_bound_here(policy: &Policy, token: &Verified, certificate: Option<&Confirmation>) -> Result<(), &'static str> {
    match (&token.cnf_x5t, certificate) {
        (Some(bound), Some(shown)) if bound.allows(shown) => Ok(()),
        (Some(_), Some(_)) => Err("the token is bound to another client certificate than that of this connection"),
        (Some(_), None) => Err("the token is bound to a client certificate, and this connection has none"),
        (None, _) if policy.binding => Err("the token is bound to no client certificate, which WARDEN_TOKEN_BINDING \
             demands: mint one with `temporal-warden token mint --bind`"),
        (None, _) => Ok(()),
    }
}

/// The scopes that count at `path`: those held for reading only do where nothing is changed.
fn here(token: &Verified, path: &str) -> Scopes {
    let reads = !token.reads.is_empty() && Method::of(path).is_some_and(Method::reads);
    if reads { token.all_scopes() } else { token.scopes }
}

/// The method first and the service behind it: as one word they are too long for the web UI's dialog.
fn forbidden(token: &Verified, path: &str, access: Access) -> String {
    let path = path.trim_start_matches('/');
    let method =
        path.rsplit_once('/').map_or_else(|| path.to_owned(), |(service, method)| format!("{method} of {service}"));
    let needed: Vec<_> = access.needed().iter().map(Scope::as_str).collect();
    let needed = needed.join(" or ");
    match token.held() {
        held if held.is_empty() => {
            format!("{} holds no scope: no value of its token is mapped to one; {method} needs {needed}", token.sub)
        }
        held => format!("scope {held} may not call {method}, which needs {needed}"),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    const POLICY: Policy = Policy {
        enabled: true,
        mode: AuthMode::Enforce,
        engine: EngineKind::Server,
        binding: false,
        rules: Vec::new(),
    };
    const LIST: &str = "/temporal.api.workflowservice.v1.WorkflowService/ListWorkflowExecutions";
    const INFO: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";
    const REGISTER: &str = "/temporal.api.workflowservice.v1.WorkflowService/RegisterNamespace";

    fn token(scope: &str, namespaces: Option<Vec<String>>) -> Presented {
        Presented::Token(Arc::new(Verified {
            sub: "someone".to_owned(),
            scopes: Scopes::parse(scope),
            jti: String::new(),
            kid: String::new(),
            not_before: OffsetDateTime::UNIX_EPOCH,
            expires: OffsetDateTime::UNIX_EPOCH,
            namespaces,
            cnf_x5t: None,
            issuer: None,
            reads: Scopes::default(),
        }))
    }

    fn decide(policy: Policy, path: &str, presented: &Presented) -> Verdict {
        judge(&policy, Method::of(path), path, Caller { presented, certificate: None, revoked: false })
    }

    #[test]
    fn forbidden_names_the_scope_held_the_method_and_the_scope_needed() {
        let Verdict::Deny(refusal) = decide(POLICY, REGISTER, &token("temporal-client", None)) else { panic!() };
        let expected = "Forbidden: scope temporal-client may not call \
            RegisterNamespace of temporal.api.workflowservice.v1.WorkflowService, which needs temporal-system";
        assert_eq!((refusal.status(), refusal.to_string()), (7, expected.to_owned()));
    }

    #[test]
    fn without_a_token_only_open_methods_pass() {
        assert!(matches!(decide(POLICY, LIST, &Presented::Nothing), Verdict::Deny(Refusal::Unauthorized(_))));
        let expired = Bad { class: Denial::ExpiredToken, why: "token expired".to_owned() };
        let open = decide(POLICY, INFO, &Presented::Refused(expired));
        assert_eq!(open, Verdict::Allow { token: Token::Remove, reported: None });
    }

    #[test]
    fn a_method_that_is_not_in_the_table_needs_system() {
        let unknown = "/temporal.api.workflowservice.v1.WorkflowService/Invented";
        for scope in ["temporal-client", "temporal-worker", "temporal-client temporal-worker"] {
            assert!(matches!(decide(POLICY, unknown, &token(scope, None)), Verdict::Deny(Refusal::Forbidden(_))));
        }
        assert!(matches!(decide(POLICY, unknown, &token("temporal-system", None)), Verdict::Allow { .. }));
    }

    #[test]
    fn a_bound_token_passes_only_over_its_certificate() {
        let Presented::Token(free) = token("temporal-client", None) else { panic!() };
        let (mine, other) = (Confirmation::exactly("mine".to_owned()), Confirmation::exactly("other".to_owned()));
        let bound = Presented::Token(Arc::new(Verified { cnf_x5t: Some(mine.clone()), ..(*free).clone() }));
        let free = Presented::Token(free);
        let binding = Policy { binding: true, ..POLICY };
        let with = |policy: &Policy, presented, certificate| {
            let caller = Caller { presented, certificate, revoked: false };
            matches!(judge(policy, Method::of(LIST), LIST, caller), Verdict::Allow { .. })
        };
        for policy in [&POLICY, &binding] {
            assert!(with(policy, &bound, Some(&mine)));
            assert!(!with(policy, &bound, Some(&other)) && !with(policy, &bound, None));
        }
        assert!(with(&POLICY, &free, Some(&mine)) && with(&POLICY, &free, None));
        assert!(!with(&binding, &free, Some(&mine)));
        assert!(matches!(decide(binding, INFO, &free), Verdict::Allow { token: Token::Keep, .. }));
    }

    #[test]
    fn what_temporal_keeps_to_its_administrators_goes_on_under_a_token_of_the_gateways_where_a_rule_opens_it() {
        let nexus = "/temporal.api.operatorservice.v1.OperatorService/ListNexusEndpoints";
        let methods = [nexus.trim_start_matches('/').to_owned()].into();
        let rule = Rule { subject: Some("someone".to_owned()), methods, ..Rule::default() };
        let policy = Policy { rules: vec![rule], ..POLICY };
        let sent = |policy: &Policy, scope, namespaces| match decide(policy.clone(), nexus, &token(scope, namespaces)) {
            Verdict::Allow { token, .. } => Some(token),
            Verdict::Deny(_) => None,
        };
        assert_eq!(sent(&policy, "temporal-client", None), Some(Token::Override));
        // Not a way around the namespaces: the token goes on as it is, and what judges those refuses it.
        assert_eq!(sent(&policy, "temporal-client", Some(vec!["a".to_owned()])), Some(Token::Keep));
        assert_eq!(sent(&policy, "temporal-system", None), Some(Token::Keep));
        assert_eq!(sent(&POLICY, "temporal-client", None), None);
    }

    #[test]
    fn a_refusal_is_counted_by_what_is_wrong_and_not_by_what_was_brought() {
        let bad = |class| Presented::Refused(Bad { class, why: "in any words".to_owned() });
        let class = |presented: &Presented, path, revoked| {
            let caller = Caller { presented, certificate: None, revoked };
            match judge(&Policy { binding: true, ..POLICY }, Method::of(path), path, caller) {
                Verdict::Deny(refusal) => refusal.class(),
                allowed => panic!("{allowed:?}"),
            }
        };
        assert_eq!(class(&Presented::Nothing, LIST, false), Denial::NoToken);
        assert_eq!(class(&bad(Denial::ExpiredToken), LIST, false), Denial::ExpiredToken);
        assert_eq!(class(&bad(Denial::RevokedToken), LIST, false), Denial::RevokedToken);
        assert_eq!(class(&token("temporal-client", None), LIST, false), Denial::Forbidden, "bound to no certificate");
        for presented in [Presented::Nothing, bad(Denial::BadToken), token("temporal-client", None)] {
            assert_eq!(class(&presented, LIST, true), Denial::RevokedCertificate);
            assert_eq!(class(&presented, INFO, true), Denial::RevokedCertificate);
        }
    }

    #[test]
    fn a_revoked_certificate_is_refused_so_that_sdks_try_again_with_its_successor() {
        let caller = Caller { presented: &token("temporal-client", None), certificate: None, revoked: true };
        let Verdict::Deny(refusal) = judge(&POLICY, Method::of(LIST), LIST, caller) else { panic!("served") };
        assert_eq!(refusal.status(), 14, "16 is final to every SDK");
    }

    #[test]
    fn a_rule_opens_its_methods_to_whom_it_names_and_nothing_unknown() {
        let batch = "/temporal.api.workflowservice.v1.WorkflowService/StartBatchOperation";
        let methods = || [batch.trim_start_matches('/').to_owned()].into();
        let rule = |scope: Option<&str>, subject: Option<&str>| Policy {
            rules: vec![Rule {
                scope: scope.map(str::to_owned),
                subject: subject.map(str::to_owned),
                methods: methods(),
                ..Rule::default()
            }],
            ..POLICY
        };
        let passes = |policy, path, scope| matches!(decide(policy, path, &token(scope, None)), Verdict::Allow { .. });
        assert!(!passes(POLICY, batch, "temporal-client"));
        assert!(passes(rule(Some("temporal-client"), None), batch, "temporal-client"));
        assert!(!passes(rule(Some("temporal-client"), None), batch, "temporal-worker"));
        assert!(passes(rule(None, Some("someone")), batch, "temporal-worker"));
        assert!(!passes(rule(None, Some("another")), batch, "temporal-client"));
        assert!(!passes(rule(Some("temporal-client"), Some("another")), batch, "temporal-client"));
        assert!(!passes(rule(None, None), batch, "temporal-client"), "a rule for nobody is for nobody");
        let unknown = "/temporal.api.workflowservice.v1.WorkflowService/Invented";
        for path in [REGISTER, unknown] {
            assert!(!passes(rule(Some("temporal-client"), None), path, "temporal-client"));
        }
    }

    #[test]
    fn report_mode_serves_and_says_what_it_would_have_refused() {
        let policy = Policy { mode: AuthMode::Report, ..POLICY };
        let Verdict::Allow { token, reported: Some(reported) } = decide(policy, LIST, &Presented::Nothing) else {
            panic!()
        };
        assert_eq!((token, reported.status()), (Token::Override, 16));
    }

    #[test]
    fn with_authorization_off_everything_passes() {
        let policy = Policy { enabled: false, ..POLICY };
        assert_eq!(
            decide(policy, REGISTER, &Presented::Nothing),
            Verdict::Allow { token: Token::Keep, reported: None }
        );
    }
}
