//! `temporal-warden status`, and the tables of `cert list|verify` and `token list`.

use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    Exit, ask,
    output::{offer, print, print_line},
    paint,
};
use crate::{
    admin::{
        ControlError, Reply, Request,
        status::{render, render_artefacts},
    },
    clock,
    config::Config,
    rotation::{self, Artefact},
};

/// Which artefacts a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Certificates, keys and what belongs to them.
    Certificates,
    /// Tokens.
    Tokens,
}

impl Subject {
    fn shows(self, artefact: &Artefact) -> bool {
        artefact.name.ends_with(".jwt") == (self == Self::Tokens)
    }
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Again every two seconds, until it is interrupted; with --json a document a line.
    #[arg(long)]
    watch: bool,
}

/// Between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// Cursor home, and the rest of the screen cleared (ECMA-48 CUP, ED).
const FRESH_SCREEN: &str = "\x1b[H\x1b[J";

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    if arguments.watch {
        return watch(&config, arguments);
    }
    match look(&config, arguments) {
        Ok(text) => {
            print(&text);
            Exit::Done.into()
        }
        Err(why) => {
            eprintln!("temporal-warden: {why}");
            Exit::Failed.into()
        }
    }
}

/// Until nobody reads. A server that restarts is what one watches for: nobody there is no reason to end.
fn watch(config: &Config, arguments: &Arguments) -> ExitCode {
    let fresh = if stdout().is_terminal() && !arguments.json { FRESH_SCREEN } else { "" };
    let again = || look(config, arguments).unwrap_or_else(|why| why + "\n");
    while offer(&format!("{fresh}{}", again())) {
        std::thread::sleep(WATCH);
    }
    Exit::Done.into()
}

/// The status as it is to be printed, or why there is none.
fn look(config: &Config, arguments: &Arguments) -> Result<String, String> {
    match ask::ask(config, &Request::Status, |_| {}) {
        Ok(Reply::Status(status)) => match (arguments.json, arguments.watch) {
            (false, _) => Ok(paint::for_reader(&render(&status, clock::now()))),
            (true, true) => serde_json::to_string(&*status).map(|line| line + "\n").map_err(|e| e.to_string()),
            (true, false) => serde_json::to_string_pretty(&*status).map(|text| text + "\n").map_err(|e| e.to_string()),
        },
        Ok(other) => Err(ask::stranger(&other)),
        Err(error @ ControlError::NotRunning { .. }) => Err(format!(
            "{error}\nstart it with `temporal-warden run`; `temporal-warden cert verify` looks at the files without it"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Prints what there is of `subject`.
pub(super) fn list(subject: Subject, json: bool) -> ExitCode {
    show(subject, json, |_| true)
}

/// The same; exit code 1 if anything is wrong with any of it.
pub(super) fn verify(subject: Subject, json: bool) -> ExitCode {
    show(subject, json, |artefacts| artefacts.iter().all(|a| a.state.is_usable()))
}

fn show(subject: Subject, json: bool, good: impl Fn(&[Artefact]) -> bool) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let report = match rotation::inspect(&config, clock::now()) {
        Ok(report) => report,
        Err(error) => return ask::failed(&error),
    };
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    let artefacts: Vec<_> = report.artefacts.into_iter().filter(|a| subject.shows(a)).collect();
    if json {
        print_json(&artefacts);
    } else {
        let mut out = String::new();
        render_artefacts(&mut out, &artefacts, clock::now());
        print(&paint::for_reader(&out));
    }
    if report.problems.is_empty() && good(&artefacts) { Exit::Done.into() } else { Exit::Failed.into() }
}

fn print_json(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            print_line(&text);
            Exit::Done.into()
        }
        Err(error) => ask::failed(&error),
    }
}
