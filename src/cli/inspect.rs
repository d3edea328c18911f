//! `temporal-warden token inspect`

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Exit, ask, output::print_line, paint};
use crate::{
    admin::{Reply, Request},
    clock,
    config::{Config, External, ExternalKeys},
    gateway, rotation,
    tokens::{self, ExternalVerifier, IssuerKeys},
};

/// Arguments of `token inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspecting {
    /// File that holds the token; - reads it from standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whether it may call this method too, e.g. StartWorkflowExecution.
    #[arg(long, value_name = "METHOD")]
    can: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exit 0 when the token passes (and may call the method), 1 when it is refused.
pub(super) fn main(inspecting: &Inspecting) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match claims_of(inspecting) {
        Ok((compact, claims)) => {
            let refusal = refusal(&config, inspecting, &compact).err();
            show(inspecting, &claims, refusal.as_deref());
            if refusal.is_none() { Exit::Done.into() } else { Exit::Failed.into() }
        }
        Err(why) => {
            eprintln!("temporal-warden: {}: {why}", inspecting.file.display());
            Exit::Failed.into()
        }
    }
}

fn claims_of(inspecting: &Inspecting) -> Result<(String, Map<String, Value>), String> {
    let text = token_text(&inspecting.file).map_err(|e| format!("cannot be read: {e}"))?;
    let claims = tokens::claimed(&text).map_err(|refusal| refusal.to_string())?;
    Ok((text.trim_end().to_owned(), claims))
}

/// What `file` holds, or standard input for `-`: into a container no file is copied for it.
pub(super) fn token_text(file: &Path) -> io::Result<String> {
    if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) }
}

/// Why the gateway would refuse it, over the certificate it is bound to.
fn refusal(config: &Config, inspecting: &Inspecting, compact: &str) -> Result<(), String> {
    let verified = match &config.external {
        Some(external) if tokens::issuer(compact).as_ref() == Some(&external.rules.issuer) => {
            let verifier = ExternalVerifier::new(external.rules.clone(), keys(config, external)?.into());
            rotation::verify_external(config, &verifier, clock::now(), compact)?
        }
        _ => rotation::verify_token(config, clock::now(), compact)?,
    };
    let Some(method) = &inspecting.can else { return Ok(()) };
    let rules = match &config.gateway.policy_file {
        None => Vec::new(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
            gateway::policy::parse(&text).map_err(|wrong| format!("{}: {}", path.display(), wrong.join("; ")))?
        }
    };
    gateway::may_call(verified, method, rules, config.tokens.binding)
}

/// The external issuer's keys: of the file, or those that the running gateway has.
fn keys(config: &Config, external: &External) -> Result<IssuerKeys, String> {
    let document = match &external.keys {
        ExternalKeys::File(jwks) => jwks.clone(),
        ExternalKeys::Fetched(from) => match ask::ask(config, &Request::IssuerKeys, |_| {}) {
            Ok(Reply::Keys(kept)) if kept.url == from.url => kept.document,
            Ok(Reply::Failed { reason }) => return Err(reason),
            Ok(_) => return Err("the running warden has the keys of another issuer: reload it".to_owned()),
            Err(error) => return Err(format!("the issuer's keys are with the running warden: {error}")),
        },
    };
    IssuerKeys::parse(&document).map_err(|error| format!("the issuer's JWKS {error}"))
}

fn show(inspecting: &Inspecting, claims: &Map<String, Value>, refusal: Option<&str>) {
    if inspecting.json {
        let document = json!({ "claims": claims, "passes": refusal.is_none(), "refusal": refusal });
        return print_line(&format!("{document:#}"));
    }
    for (name, value) in claims {
        print_line(&format!("{name:<12} {}", said(name, value)));
    }
    print_line(&match (refusal, &inspecting.can) {
        (Some(why), _) => paint::for_reader(&format!("REFUSED: {why}")),
        (None, Some(method)) => format!("passes, and may call {method}"),
        (None, None) => "passes".to_owned(),
    });
}

/// A claim in words: times also as dates.
fn said(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if ["exp", "nbf", "iat"].contains(&name) => {
            let at = number.as_i64().and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
            let format = &time::format_description::well_known::Rfc3339;
            let date = at.and_then(|at| at.format(format).ok());
            date.map_or_else(|| number.to_string(), |date| format!("{number} ({date})"))
        }
        other => other.to_string(),
    }
}
