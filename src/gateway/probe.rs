//! The probe behind `/health`: a call that makes Temporal read its database.

use std::{sync::Arc, time::Duration};

use http::header::AUTHORIZATION;
use tokio::time::{Instant, timeout_at};

use super::{
    health_service::framed,
    proxy,
    serving::Serving,
    upstream::{Lease, Pool},
};
use crate::{clock, config::EngineKind};

/// Reads the namespace record from the database: `weak_consistency` is left false.
const METHOD: &str = "DescribeNamespace";
/// Field 1, a string: the namespace every Temporal has.
const MESSAGE: &[u8] = b"\x0a\x0ftemporal-system";
/// Longest wait for the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Codes with which an upstream of someone else's refuses a probe that has no token for it.
const REFUSALS: [u32; 2] = [7, 16];

/// Probes once.
pub(super) async fn probe(pool: &Arc<Pool>, serving: &Serving) -> Result<String, String> {
    let deadline = Instant::now() + LIMIT;
    let mut lease = pool.acquire(&serving.connector, deadline).await.map_err(|e| e.to_string())?;
    match timeout_at(deadline, call(&mut lease, serving)).await {
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(format!("the connection to the Temporal frontend failed: {error}")),
        Ok(Ok((code, message))) => judge(serving.policy.engine, serving.signer.is_some(), code, &message),
    }
}

fn judge(engine: EngineKind, signed: bool, code: u32, message: &str) -> Result<String, String> {
    match code {
        0 => Ok("DescribeNamespace answered".to_owned()),
        _ if engine == EngineKind::External && !signed && REFUSALS.contains(&code) => {
            Ok(format!("the frontend answers, but refuses the probe (status {code}): its database is not probed"))
        }
        _ => Err(format!("DescribeNamespace: status {code} {message}")),
    }
}

async fn call(lease: &mut Lease, serving: &Serving) -> Result<(u32, String), h2::Error> {
    let mut request = proxy::own_request(lease, METHOD);
    let token = serving.signer.as_ref();
    if let Some(token) = token.and_then(|s| s.bearer("temporal-warden", "temporal-system:read", clock::now())) {
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    proxy::unary(lease, request, framed(MESSAGE)).await.map(|(code, message, _)| (code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_system_namespace() {
        assert_eq!(MESSAGE[1] as usize, MESSAGE.len() - 2);
    }

    #[test]
    fn only_an_external_frontend_may_refuse_the_probe() {
        assert!(judge(EngineKind::External, false, 7, "").is_ok());
        for (engine, signed, code) in
            [(EngineKind::Server, true, 7), (EngineKind::Dev, false, 16), (EngineKind::External, false, 14)]
        {
            assert!(judge(engine, signed, code, "").is_err());
        }
    }
}
