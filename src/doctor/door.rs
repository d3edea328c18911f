//! Port 7233 as a client sees it: name, port, handshake, health, and what it lets through and what not.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::CertificateError;
use tokio::{net::TcpStream, time::timeout};

use super::{
    Finding,
    client::{Answer, LIMIT, ask, speak},
    enforces,
};
use crate::{config::Config, secret::Secret};

const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService/";
/// `namespace: "default"`, length-prefixed: enough for a read, whether that namespace is there or not.
const DEFAULT: &[u8] = b"\x00\x00\x00\x00\x09\x0a\x07default";
/// An empty message.
const EMPTY: &[u8] = b"\x00\x00\x00\x00\x00";
/// Codes of gRPC: refused for its scope, not decided (no answer in time, nobody there), refused for its token.
const FORBIDDEN: u32 = 7;
const TOO_LATE: u32 = 4;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

pub(super) async fn check(config: &Config, address: &str) -> Vec<Finding> {
    let tcp = match reach(address).await {
        Ok(tcp) => tcp,
        Err(finding) => return vec![finding],
    };
    let mut findings = vec![Finding::good("port", format!("{address} answers"))];
    let send = match speak(config, address, tcp, true).await {
        Ok(send) => send,
        Err(error) => {
            findings.push(handshake_failed(address, &error));
            return findings;
        }
    };
    findings.push(match config.tls_enabled {
        true => Finding::good("tls", "the certificate is valid for this name, and the client certificate is accepted"),
        false => Finding::skipped("tls", "TEMPORAL_TLS_ENABLED=false"),
    });
    if config.tls_enabled {
        findings.push(without_certificate(config, address).await);
    }
    findings.push(health(ask(&send, "/health", None, None).await));
    findings.extend(tokens(config, &send).await);
    findings
}

async fn reach(address: &str) -> Result<TcpStream, Finding> {
    let resolved = timeout(LIMIT, tokio::net::lookup_host(address)).await.map_err(io::Error::from).flatten();
    if let Err(error) = resolved.map(|found| found.count()) {
        let fix =
            "use a name that this machine resolves: the compose service is `temporal`, on the host it is localhost";
        return Err(Finding::bad("name", format!("{address} cannot be resolved: {error}"), fix));
    }
    timeout(LIMIT, TcpStream::connect(address)).await.map_err(io::Error::from).flatten().map_err(|error| {
        let fix = "check WARDEN_LISTEN, the published port and the network; a start in progress opens it early";
        Finding::bad("port", format!("{address} does not answer: {error}"), fix)
    })
}

fn handshake_failed(address: &str, error: &io::Error) -> Finding {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let fix = match cause {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "add the name to WARDEN_SERVER_SANS and restart the server, or connect by a name in its certificate"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew: /usr/local/bin/generate-certs.sh"
            }
            _ => "this ca.crt belongs to another deployment, or something else answers at this address",
        },
        Some(rustls::Error::InvalidMessage(_)) => "what answers there speaks no TLS: is it the gateway's port?",
        _ if error.kind() == io::ErrorKind::PermissionDenied => "run this as root in the server's container",
        _ if error.kind() == io::ErrorKind::NotFound => "make what is missing: temporal-warden init",
        _ => "see what the gateway says of it: temporal-warden audit tail, and `cert verify` for the files",
    };
    Finding::bad("tls", format!("the handshake with {address} failed: {error}"), fix)
}

/// The wall itself: a client without a certificate must get nothing.
async fn without_certificate(config: &Config, address: &str) -> Finding {
    let served = async {
        let tcp = reach(address).await.ok()?;
        let send = speak(config, address, tcp, false).await.ok()?;
        ask(&send, "/health", None, None).await.ok()
    };
    match served.await {
        None => Finding::good("wall", "without a client certificate the handshake fails"),
        Some(_) => Finding::bad(
            "wall",
            format!("{address} serves a client without a certificate"),
            "something other than the gateway ends TLS there: publish the gateway's own port",
        ),
    }
}

fn health(answer: Result<Answer, String>) -> Finding {
    match answer {
        Ok(Answer { http: 200, .. }) => Finding::good("health", "SERVING: a call that reads the database succeeds"),
        Ok(Answer { body, .. }) => {
            let document: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let reason = document["reason"].as_str().unwrap_or("no reason given");
            Finding::bad("health", format!("NOT_SERVING: {reason}"), remedy(reason))
        }
        Err(error) => Finding::bad("health", error, "see `temporal-warden status`"),
    }
}

/// What to do about a reason of `/health`.
fn remedy(reason: &str) -> &'static str {
    match reason {
        _ if reason.contains("audit log") => {
            "make room for it, or its folder writable (WARDEN_AUDIT_FILE); calls are served again by themselves then"
        }
        _ if reason.contains("no such host") || reason.contains("lookup") => {
            "start the database (docker compose up -d postgres), or put its name into POSTGRES_SEEDS"
        }
        _ if reason.contains("password authentication") => {
            "the database has another password: docs/operations.md, \"A volume is lost\", or set POSTGRES_PWD"
        }
        _ if reason.contains("does not support TLS") => {
            "let the database speak TLS; SQL_TLS_ENABLED=false only where the network in between is yours alone"
        }
        _ if reason.contains("database") || reason.contains("PostgreSQL") => {
            "see whether the database runs where POSTGRES_SEEDS and DB_PORT say, and its own log: docker logs app_data_postgres"
        }
        _ => "`temporal-warden status` shows which part",
    }
}

async fn tokens(config: &Config, send: &SendRequest<Bytes>) -> Vec<Finding> {
    if !enforces(config) {
        return vec![Finding::skipped("token", "refusals are switched off")];
    }
    let list = format!("{SERVICE}ListWorkflowExecutions");
    let mut findings = vec![refused("no token", ask(send, &list, Some(DEFAULT), None).await, UNAUTHENTICATED)];
    let token = std::fs::read_to_string(config.certs.dir.join("client-token.jwt")).map(Secret::new);
    let Ok(token) = token else {
        let fix = "make it anew: /usr/local/bin/generate-jwt-tokens.sh";
        findings.push(Finding::bad("token", "client-token.jwt cannot be read", fix));
        return findings;
    };
    findings.push(accepted(ask(send, &list, Some(DEFAULT), Some(&token)).await));
    let admin = format!("{SERVICE}ListNamespaces");
    findings.push(refused("scope", ask(send, &admin, Some(EMPTY), Some(&token)).await, FORBIDDEN));
    findings
}

/// The client's own token on a call of its own scope; that a namespace is missing is not its fault.
fn accepted(answer: Result<Answer, String>) -> Finding {
    let fix = "make tokens anew (/usr/local/bin/generate-jwt-tokens.sh); the text says what the token lacks";
    match answer {
        Ok(Answer { grpc: Some((UNAUTHENTICATED | FORBIDDEN, why)), .. }) => {
            Finding::bad("token", format!("client-token.jwt is refused: {why}"), fix)
        }
        Ok(Answer { grpc: Some((TOO_LATE | UNAVAILABLE, why)), .. }) => not_known("token", &why),
        Ok(Answer { grpc: Some(_), .. }) => Finding::good("token", "client-token.jwt may list workflows"),
        Ok(Answer { http, .. }) => Finding::bad("token", format!("no gRPC status, HTTP {http}"), fix),
        Err(error) => Finding::bad("token", error, fix),
    }
}

fn refused(check: &'static str, answer: Result<Answer, String>, expected: u32) -> Finding {
    let fix = "report this as a security problem of temporal-warden, and stop the deployment";
    match answer {
        Ok(Answer { grpc: Some((code, why)), .. }) if code == expected => {
            Finding::good(check, format!("refused: {why}"))
        }
        Ok(Answer { grpc: Some((TOO_LATE | UNAVAILABLE, why)), .. }) => not_known(check, &why),
        Ok(Answer { grpc: Some((code, why)), .. }) => {
            Finding::bad(check, format!("expected status {expected}, got {code} {why}"), fix)
        }
        Ok(Answer { http, .. }) => Finding::bad(check, format!("expected status {expected}, got HTTP {http}"), fix),
        Err(error) => Finding::bad(check, error, "see `temporal-warden status`"),
    }
}

/// Nothing passes at present, good or bad; `health` says what to do.
fn not_known(check: &'static str, why: &str) -> Finding {
    Finding::skipped(check, format!("not known, no call gets through: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn answer(http: u16, grpc: Option<(u32, &str)>) -> Result<Answer, String> {
        Ok(Answer { http, body: String::new(), grpc: grpc.map(|(code, why)| (code, why.to_owned())) })
    }

    #[test]
    fn an_answer_that_should_not_be_is_told_as_it_came() {
        for (finding, detail) in [
            (accepted(answer(200, Some((7, "Forbidden: x")))), "client-token.jwt is refused: Forbidden: x"),
            (accepted(answer(502, None)), "no gRPC status, HTTP 502"),
            (refused("scope", answer(200, Some((0, "served"))), 7), "expected status 7, got 0 served"),
            (refused("scope", answer(502, None), 7), "expected status 7, got HTTP 502"),
            (health(answer(503, None)), "NOT_SERVING: no reason given"),
        ] {
            assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Bad, detail));
        }
        let fine = [accepted(answer(200, Some((5, "no namespace")))), refused("scope", answer(200, Some((7, ""))), 7)];
        assert!(fine.iter().all(|finding| finding.verdict == Verdict::Good));
    }

    #[test]
    fn while_nothing_gets_through_neither_a_hole_nor_a_right_is_claimed() {
        let full = "the audit log cannot be written (write: No space left on device)";
        for finding in [accepted(answer(200, Some((14, full)))), refused("scope", answer(200, Some((4, full))), 7)] {
            assert_eq!((finding.verdict, finding.fix), (Verdict::Skipped, None));
            assert_eq!(finding.detail, format!("not known, no call gets through: {full}"));
        }
        for (reason, word) in [
            ("the audit log cannot be written: write: No space left on device", "make room"),
            ("a call that reads the database failed: lookup postgres on 127.0.0.11:53: no such host", "POSTGRES_SEEDS"),
            ("waiting for PostgreSQL at db:5432: password authentication failed for user \"temporal\"", "POSTGRES_PWD"),
            ("waiting for PostgreSQL at db:5432: server does not support TLS", "SQL_TLS_ENABLED=false only"),
            ("a call that reads the database failed: connection refused", "docker logs app_data_postgres"),
            ("stopping", "temporal-warden status"),
        ] {
            assert!(remedy(reason).contains(word), "{reason}: {}", remedy(reason));
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_from_a_port_nobody_listens_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let name = runtime.block_on(reach("no port")).unwrap_err();
        assert!(name.detail.starts_with("no port cannot be resolved: "), "{}", name.detail);
        let port = runtime.block_on(reach("127.0.0.1:1")).unwrap_err();
        assert!(port.detail.starts_with("127.0.0.1:1 does not answer: "), "{}", port.detail);
    }
}
