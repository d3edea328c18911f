//! `temporal-warden status`, and the tables of `cert list|verify` and `token list`.

use std::process::ExitCode;

use clap::Args;

use super::{
    Exit, ask,
    output::{print, print_line},
};
use crate::{
    admin::{
        ControlError, Reply, Request,
        status::{render, render_artefacts},
    },
    clock,
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
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match ask::ask(&config, &Request::Status, |_| {}) {
        Ok(Reply::Status(status)) if arguments.json => print_json(&*status),
        Ok(Reply::Status(status)) => {
            print(&render(&status, clock::now()));
            Exit::Done.into()
        }
        Ok(other) => {
            eprintln!("temporal-warden: unexpected answer {other:?}");
            Exit::Failed.into()
        }
        Err(error @ ControlError::NotRunning { .. }) => {
            eprintln!(
                "{error}\nstart it with `temporal-warden run`; `temporal-warden cert verify` looks at the files without it"
            );
            Exit::Failed.into()
        }
        Err(error) => ask::failed(&error),
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
        print(&out);
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
