//! `temporal-warden audit …`

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use serde_json::json;

use super::{Exit, ask, output::print_line};
use crate::gateway::audit_verify::{Finding, Verifier};

/// Sub-commands of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check numbers and hash chain; names the first missing, altered, torn or out-of-order line. Exit 1 if there is one.
    #[command(
        after_help = "Examples:\n  temporal-warden audit verify\n  temporal-warden audit verify old/audit.jsonl.1 old/audit.jsonl   (oldest first)"
    )]
    Verify {
        /// Audit files, the oldest first; without: WARDEN_AUDIT_FILE, with FILE.1, FILE.2 … before it.
        files: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: &Command) -> ExitCode {
    let Command::Verify { files, json } = command;
    let files = if files.is_empty() {
        match ask::configuration() {
            Ok(config) => oldest_first(&config.audit.file),
            Err(exit) => return exit,
        }
    } else {
        files.clone()
    };
    let mut verifier = Verifier::default();
    match verify(&mut verifier, &files) {
        Ok(finding) => {
            print_line(&if *json { as_json(&verifier, finding.as_ref()) } else { text(&verifier, finding.as_ref()) });
            if finding.is_none() { Exit::Done.into() } else { Exit::Failed.into() }
        }
        Err(message) => {
            eprintln!("{message}");
            Exit::Failed.into()
        }
    }
}

/// `file` after the rotated `file.1`, `file.2` …, the highest number first.
fn oldest_first(file: &Path) -> Vec<PathBuf> {
    let rotated = |n: u32| PathBuf::from(format!("{}.{n}", file.display()));
    let mut files = vec![file.to_owned()];
    files.extend((1..).map(rotated).take_while(|f| f.exists()));
    files.reverse();
    files
}

fn verify(verifier: &mut Verifier, files: &[PathBuf]) -> Result<Option<Finding>, String> {
    for path in files {
        let fail =
            |error| format!("failed to read the audit log {}: {error}; is it there and readable?", path.display());
        let lines = BufReader::new(File::open(path).map_err(fail)?);
        if let Some(finding) = verifier.file(&path.display().to_string(), lines).map_err(fail)? {
            return Ok(Some(finding));
        }
    }
    Ok(None)
}

fn text(verifier: &Verifier, finding: Option<&Finding>) -> String {
    let chains =
        verifier.writers().iter().map(|(writer, at)| format!("{writer}: seq {} to {} in order", at.first, at.last));
    let wrong = finding.map(|f| format!("{}: {}", f.place, f.fault));
    let lines: Vec<_> = chains.chain(wrong).collect();
    if lines.is_empty() { "no records".to_owned() } else { lines.join("\n") }
}

fn as_json(verifier: &Verifier, finding: Option<&Finding>) -> String {
    let writers: serde_json::Map<_, _> = verifier
        .writers()
        .iter()
        .map(|(writer, at)| (writer.clone(), json!({ "first": at.first, "last": at.last })))
        .collect();
    let fault = finding.map(|f| json!({ "place": f.place, "fault": f.fault.to_string() }));
    json!({ "intact": finding.is_none(), "writers": writers, "fault": fault }).to_string()
}
