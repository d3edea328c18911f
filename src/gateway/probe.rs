//! The probe behind `/health`: a call that makes Temporal read its database.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, header::AUTHORIZATION};
use tokio::time::{Instant, timeout_at};

use super::{
    health_service::framed,
    serving::Serving,
    upstream::{
        Lease, Pool,
        own::{self, ALIVE_METHOD},
    },
};
use crate::{clock, config::EngineKind, secret::Secret};

/// Reads the namespace record from the database: `weak_consistency` is left false.
const METHOD: &str = "DescribeNamespace";
/// Field 1, a string: the namespace every Temporal has.
const MESSAGE: &[u8] = b"\x0a\x0ftemporal-system";
/// Longest wait for the answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Codes with which an upstream of someone else's refuses a probe that has no token for it.
const REFUSALS: [u32; 2] = [7, 16];

/// Probes once, with a token of the gateway's own where the upstream checks any.
pub(super) async fn probe(pool: &Arc<Pool>, serving: &Serving) -> Result<String, String> {
    let own = serving.signer.as_ref().and_then(|s| s.bearer("temporal-warden", "temporal-system:read", clock::now()));
    let (code, message) = ask(pool, serving, own, METHOD, MESSAGE).await?;
    judge(serving.policy.engine, serving.signer.is_some(), code, &message)
}

/// Probes once with this token: only an answer means that the upstream accepts it.
pub(super) async fn probe_with(pool: &Arc<Pool>, serving: &Serving, token: &Secret<String>) -> Result<(), String> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    match ask(pool, serving, Some(value), METHOD, MESSAGE).await? {
        (0, _) => Ok(()),
        (code, message) => Err(format!("DescribeNamespace: status {code} {message}")),
    }
}

/// Whether the frontend answers anything, whatever it is.
pub(super) async fn answers(pool: &Arc<Pool>, serving: &Serving) -> bool {
    ask(pool, serving, None, ALIVE_METHOD, &[]).await.is_ok()
}

async fn ask(
    pool: &Arc<Pool>,
    serving: &Serving,
    authorization: Option<HeaderValue>,
    method: &str,
    message: &'static [u8],
) -> Result<(u32, String), String> {
    let deadline = Instant::now() + LIMIT;
    let mut lease = pool.acquire(&serving.connector, deadline).await.map_err(|e| e.to_string())?;
    match timeout_at(deadline, call(&mut lease, authorization, method, message)).await {
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(format!("the connection to the Temporal frontend failed: {error}")),
        Ok(Ok(answer)) => Ok(answer),
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

async fn call(
    lease: &mut Lease,
    authorization: Option<HeaderValue>,
    method: &str,
    message: &[u8],
) -> Result<(u32, String), h2::Error> {
    let mut request = own::request(&lease.connector, method);
    if let Some(token) = authorization {
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    own::unary(&mut lease.send, request, framed(message)).await.map(|(code, message, _)| (code, message))
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
