//! `temporal-warden token revoke`

use std::{path::Path, process::ExitCode};

use clap::Args;

use super::{Exit, ask, inspect::token_text, output::print_line};
use crate::{config::Config, gateway::link::Revocations, tokens};

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Revoking {
    /// The token's jti, or a file that holds the token; - reads the token from standard input.
    #[arg(value_name = "JTI|FILE")]
    token: Option<String>,
    /// Every token of this subject, old and new.
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
}

pub(super) fn main(revoking: &Revoking) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match revocations(&config, revoking) {
        Ok((what, revoked)) => {
            print_line(&format!("revoking {what}"));
            ask::revoke(&config, revoked)
        }
        Err(why) => {
            eprintln!("temporal-warden: {why}");
            Exit::Failed.into()
        }
    }
}

fn revocations(config: &Config, revoking: &Revoking) -> Result<(String, Revocations), String> {
    let none = Revocations::default();
    if let Some(sub) = revoking.subject.as_deref() {
        let sub = Some(sub).filter(|sub| !sub.is_empty()).ok_or("--subject is empty; name the `sub` of the tokens")?;
        return Ok((format!("every token of {sub}"), Revocations { subjects: [sub.to_owned()].into(), ..none }));
    }
    let jti = jti(config, revoking.token.as_deref().unwrap_or_default())?;
    Ok((format!("the token with jti {jti}"), Revocations { jti: [jti].into(), ..none }))
}

/// The id itself, or that of the token in the file that is named, also by its name in the certificates folder.
fn jti(config: &Config, named: &str) -> Result<String, String> {
    let here = Path::new(named);
    let live = config.certs.dir.join(named);
    let file = if here.is_file() { here } else { live.as_path() };
    if file.is_file() || named == "-" || named.contains('/') || named.ends_with(".jwt") {
        let file = if file.is_file() { file } else { here };
        let text = token_text(file).map_err(|e| {
            format!("{} cannot be read: {e}; name a file that holds the token, or its jti", file.display())
        })?;
        return of_token(&text).map_err(|why| format!("{}: {why}", file.display()));
    }
    if named.matches('.').count() == 2 {
        return of_token(named);
    }
    let good = (1..=256).contains(&named.len()) && named.chars().all(|c| c.is_ascii_graphic());
    if good {
        Ok(named.to_owned())
    } else {
        Err(format!("{named:?} is neither a jti nor a file; the audit log names the jti of each call"))
    }
}

fn of_token(text: &str) -> Result<String, String> {
    let claims = tokens::claimed(text).map_err(|refusal| refusal.to_string())?;
    match claims.get("jti").and_then(serde_json::Value::as_str) {
        Some(jti) if !jti.is_empty() => Ok(jti.to_owned()),
        _ => Err("the token has no jti; revoke its subject with --subject".to_owned()),
    }
}
