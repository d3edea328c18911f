//! Between the two halves of a change of the signing key: nobody gets a token that someone would refuse.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::{Warden, desk};
use crate::{
    clock,
    config::EngineKind,
    secret::Secret,
    tokens::{Grant, Scope, SigningKey, mint},
};

/// Temporal reads its JWKS every 5 s; what takes longer than this has another reason.
const PATIENCE: Duration = Duration::from_secs(30);
/// One question to Temporal, the gateway's own limit included.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);
/// Life of the token that is tried.
const TRIAL: time::Duration = time::Duration::minutes(1);

/// Returns when the gateway serves the live JWKS and Temporal accepts a token signed by its newest key.
pub(super) async fn accepted(warden: &Warden) -> Result<(), String> {
    let later = |why: &str| {
        Err(format!(
            "the tokens stay those of the signing key before, which goes on being trusted, and this is tried again: {why}"
        ))
    };
    if !desk::is_in_force(warden).await? {
        return later("the gateway has not taken the new key yet");
    }
    // Elsewhere nobody behind the gateway looks at the warden's tokens.
    if warden.config().engine != EngineKind::Server || !warden.config().auth_enabled {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        match warden.parent.attempt(trial(warden)?, ASK_LIMIT).await {
            Ok(()) => {
                info!("Temporal accepts the new signing key after {:.1?}", began.elapsed());
                return Ok(());
            }
            Err(why) if began.elapsed() >= PATIENCE => return later(&format!("Temporal does not accept it: {why}")),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A short token by the current key, with the least scope that may ask for a namespace of Temporal's own.
fn trial(warden: &Warden) -> Result<Secret<String>, String> {
    let key = SigningKey::from_pem(warden.live.borrow().signing_key_pem.expose()).map_err(|e| e.to_string())?;
    let config = warden.config();
    let tokens = &config.tokens;
    let grant = Grant {
        issuer: tokens.issuer.clone(),
        audience: tokens.audience.clone(),
        sub: "temporal-warden".to_owned(),
        scopes: Scope::Client.into(),
        namespaces: None,
        cnf_x5t: None,
        life: TRIAL,
    };
    mint(&key, &grant, clock::now()).map(Secret::new).map_err(|e| e.to_string())
}
