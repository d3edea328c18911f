//! What commands share: read the configuration, ask a running PID 1, or do it here when none runs.

use std::{cell::RefCell, path::Path, pin::pin, process::ExitCode};

use super::{
    Exit,
    output::print_line,
    wait::{self, Waiting},
};
use crate::{
    admin::{Client, ControlError, Reply, Request},
    audit::{Act, By, note_here},
    clock,
    config::{Config, load},
    gateway::link::Revocations,
    rotation::{self, Event, Installation, Live, Summary},
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
    ask_at(&config.runtime_dir, request, line)
}

fn ask_at(folder: &Path, request: &Request, line: impl FnMut(&str)) -> Result<Reply, ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { waited_for(Client::connect(folder).await?, request, line).await })
}

/// What the warden says on the way is printed, what is waited for shown on a terminal.
async fn waited_for(client: Client, request: &Request, mut line: impl FnMut(&str)) -> Result<Reply, ControlError> {
    let waiting = RefCell::new(Waiting::for_answer(request));
    let mut asked = pin!(client.ask(request, |text| {
        waiting.borrow_mut().heard(text);
        line(text);
    }));
    loop {
        tokio::select! {
            answer = &mut asked => return answer,
            () = tokio::time::sleep(wait::TICK) => waiting.borrow_mut().tick(),
        }
    }
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
    change(config, &Request::Make { request }, || {
        here(config, request.act(), "", |hear| rotation::make_alone(config, clock::now(), request, hear))
    })
}

/// Revokes: by the running warden, or here under the lock when none runs.
pub(super) fn revoke(config: &Config, revoked: Revocations) -> ExitCode {
    let done = change(config, &Request::Revoke { revoked: revoked.clone() }, || {
        here(config, Act::Revoke, &revoked.to_string(), |hear| rotation::revoke(config, clock::now(), &revoked, hear))
    });
    done.err().unwrap_or(Exit::Done.into())
}

/// Installs what somebody else signed: by the running warden, or here under the lock when none runs.
pub(super) fn install(config: &Config, given: &Installation) -> ExitCode {
    let done = change(config, &Request::Install { given: given.clone() }, || {
        let what = given.to_string();
        let what = what.trim_end_matches("; ");
        here(config, Act::InstallCertificates, what, |hear| rotation::install(config, clock::now(), given, hear))
    });
    done.err().unwrap_or(Exit::Done.into())
}

/// Has the running warden do it, or does it `here` when none runs.
fn change(config: &Config, request: &Request, here: impl FnOnce() -> Result<(), ExitCode>) -> Result<(), ExitCode> {
    match ask(config, request, print_line) {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Err(Exit::Failed.into())
        }
        Ok(other) => Err(unexpected(&other)),
        Err(ControlError::NotRunning { .. }) => here(),
        Err(error) => Err(failed(&error)),
    }
}

/// What only a running warden can do. It has its own configuration: that the newest is wrong is for it to say.
pub(super) fn running(request: &Request) -> ExitCode {
    match ask_at(&load::runtime_dir(), request, print_line) {
        Ok(Reply::Done) => Exit::Done.into(),
        Ok(Reply::Failed { reason }) => {
            eprintln!("temporal-warden: {reason}");
            Exit::Failed.into()
        }
        Ok(other) => unexpected(&other),
        Err(error) => failed(&error),
    }
}

/// An answer that belongs to another question.
pub(super) fn unexpected(answer: &Reply) -> ExitCode {
    eprintln!("temporal-warden: {}", stranger(answer));
    Exit::Failed.into()
}

/// The same in words.
pub(super) fn stranger(answer: &Reply) -> String {
    format!("the running warden answered {answer:?}; is it of another version?")
}

/// Does it in this process, and leaves a record of `act` on `what`.
fn here(
    config: &Config,
    act: Act,
    what: &str,
    change: impl FnOnce(&mut dyn FnMut(Event)) -> Result<Live, rotation::Error>,
) -> Result<(), ExitCode> {
    let mut summary = Summary::default();
    let done = change(&mut |event| {
        summary.hear(&event);
        print_line(&event.to_string());
    });
    let what = if what.is_empty() { String::new() } else { format!("{what}; ") };
    match done {
        Ok(_) if summary.is_empty() => Ok(()),
        Ok(_) => {
            note(config, act, &format!("{what}{summary}"));
            Ok(())
        }
        Err(error) => {
            note(config, act, &format!("failed: {what}{error}"));
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
