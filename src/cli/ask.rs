//! What commands share: read the configuration, ask a running PID 1, or do it here when none runs.

use std::process::ExitCode;

use super::{Exit, output::print_line};
use crate::{
    admin::{Client, ControlError, Reply, Request},
    audit::{Act, By, note_here},
    clock,
    config::{Config, load},
    rotation::{self, Summary},
};

/// Prints a failure with its causes and gives the exit code for it.
pub(super) fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("temporal-warden: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
    Exit::Failed.into()
}

/// Reads the configuration or prints everything that is wrong with it.
pub(super) fn configuration() -> Result<Config, ExitCode> {
    load::load().map_err(|errors| {
        eprintln!("{errors}");
        Exit::Failed.into()
    })
}

/// Asks the running warden; every line it says is handed to `line`.
pub(super) fn ask(config: &Config, request: &Request, line: impl FnMut(&str)) -> Result<Reply, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Client::connect(&config.runtime_dir).await?.ask(request, line).await })
}

/// Makes material: by the running warden, or here under the lock when none runs.
pub(super) fn make(request: rotation::Request) -> ExitCode {
    make_all(&[request])
}

/// One after the other, up to the first that fails.
pub(super) fn make_all(requests: &[rotation::Request]) -> ExitCode {
    let config = match configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let failed = requests.iter().find_map(|request| make_one(&config, *request).err());
    failed.unwrap_or(Exit::Done.into())
}

fn make_one(config: &Config, request: rotation::Request) -> Result<(), ExitCode> {
    match ask(config, &Request::Make { request }, print_line) {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Err(Exit::Failed.into())
        }
        Ok(other) => {
            eprintln!("temporal-warden: the running warden answered {other:?}; is it of another version?");
            Err(Exit::Failed.into())
        }
        Err(ControlError::NotRunning { .. }) => make_here(config, request),
        Err(error) => Err(failed(&error)),
    }
}

/// Makes material in this process.
fn make_here(config: &Config, request: rotation::Request) -> Result<(), ExitCode> {
    let mut summary = Summary::default();
    let mut hear = |event: rotation::Event| {
        summary.hear(&event);
        print_line(&event.to_string());
    };
    match rotation::make_alone(config, clock::now(), request, &mut hear) {
        Ok(_) if summary.is_empty() => Ok(()),
        Ok(_) => {
            note(config, request.act(), &summary.to_string());
            Ok(())
        }
        Err(error) => {
            note(config, request.act(), &format!("failed: {error}"));
            Err(failed(&error))
        }
    }
}

/// Leaves a record of what this command did itself, where there is an audit log it may write to.
pub(super) fn note(config: &Config, act: Act, detail: &str) {
    let group = nix::unistd::geteuid().is_root().then_some(config.gateway.uid);
    if let Err(error) = note_here(&config.audit.file, group, act, By::this_command(), detail) {
        eprintln!("temporal-warden: no record in the audit log {}: {error}", config.audit.file.display());
    }
}
