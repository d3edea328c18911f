//! `temporal-warden run`: PID 1. `run -- COMMAND…`: a plain init.

use std::{ffi::OsString, process::ExitCode};

use tracing::warn;

use super::Exit;
use crate::{
    app,
    config::load::Source,
    signals::{self, Signals},
    supervisor, telemetry,
};

/// Signals are blocked before anything else: one that comes earlier would be lost for PID 1.
pub(super) fn main(args: &[OsString]) -> ExitCode {
    let signals = match signals::block_all() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("temporal-warden: failed to block signals: {error}");
            return Exit::Failed.into();
        }
    };
    match args.get(2..).unwrap_or_default() {
        [] => warden(signals),
        [dashes, command @ ..] if dashes == "--" => {
            super::exit_code(supervisor::init_command(signals, command.to_vec()))
        }
        [help, ..] if help == "--help" || help == "-h" => {
            super::output::print_line(&super::help_of("run"));
            Exit::Done.into()
        }
        [other, ..] => {
            eprintln!("temporal-warden: run takes no argument {other:?}; usage: temporal-warden run [-- COMMAND…]");
            ExitCode::from(2)
        }
    }
}

fn warden(signals: Signals) -> ExitCode {
    aws_lc_rs::init();
    let source = Source::of_process();
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Failed.into();
        }
    };
    // Before any thread exists: capabilities belong to threads, and a thread started earlier would keep them all.
    let undone = give_up_privileges();
    if let Err(error) = telemetry::init(&loaded.config.log) {
        eprintln!("temporal-warden: failed to start logging: {error}");
        return Exit::Failed.into();
    }
    for what in undone {
        warn!("{what}");
    }
    app::run(source, loaded, signals)
}

/// Keeps what PID 1 needs for life; the user's secret files were read before, while `DAC_OVERRIDE` was there.
fn give_up_privileges() -> Vec<String> {
    let mut undone = Vec::new();
    if let Err(cause) = supervisor::forbid_core_dumps() {
        undone.push(format!("core dumps of PID 1 could not be switched off: {cause}"));
    }
    if nix::unistd::geteuid().is_root() {
        undone.extend(supervisor::drop_to_lifelong_capabilities());
    }
    undone
}
