//! `temporal-warden audit …`

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Subcommand;
use serde_json::json;

use super::{Exit, ask, audit_report, audit_tail, output::print_line};
use crate::audit::{Series, Verifier, forward};

/// How often a log in which a fault was found is looked at again, and the pause before.
const LOOKS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(400);

/// Sub-commands of `audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show records: who did what, where, and whether it was allowed.
    #[command(after_long_help = include_str!("help/audit_tail.txt"))]
    Tail(audit_tail::Arguments),
    /// Add up a time of the log by who did what, refusals first.
    #[command(after_long_help = include_str!("help/audit_report.txt"))]
    Report(audit_report::Arguments),
    /// Verify numbers and hash chains of the log.
    ///
    /// Each missing, altered or out-of-order line is named.
    #[command(after_long_help = include_str!("help/audit_verify.txt"))]
    Verify {
        /// Audit files, the oldest first; without: WARDEN_AUDIT_FILE after its rotated predecessors.
        files: Vec<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(command: &Command) -> ExitCode {
    match command {
        Command::Tail(arguments) => audit_tail::main(arguments),
        Command::Report(arguments) => audit_report::main(arguments),
        Command::Verify { files, json } => verify(files, *json),
    }
}

/// The log that is configured, or a failure that was told.
pub(super) fn configured() -> Result<Series, ExitCode> {
    ask::configuration().map(|config| Series::of(&config.audit.file))
}

/// A failure to read `path`, in words.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("failed to read the audit log {}: {error}; is it there and readable?", path.display())
}

fn verify(files: &[PathBuf], json: bool) -> ExitCode {
    let verified = match files {
        [] => configured().and_then(|series| patiently(|| open_all(&series))),
        files => patiently(|| files.iter().map(|path| open(path)).collect()),
    };
    match verified {
        Ok(verifier) => {
            print_line(&if json { as_json(&verifier) } else { text(&verifier) });
            if verifier.found() == 0 { Exit::Done.into() } else { Exit::Failed.into() }
        }
        Err(exit) => exit,
    }
}

/// A log that is being written and rotated may look wrong for a moment: a fault is told when it stays.
fn patiently(files: impl Fn() -> Result<Vec<(PathBuf, File)>, ExitCode>) -> Result<Verifier, ExitCode> {
    let mut verifier = verified(files()?)?;
    for _ in 0..LOOKS {
        if verifier.found() == 0 {
            break;
        }
        std::thread::sleep(PAUSE);
        verifier = verified(files()?)?;
    }
    Ok(verifier)
}

fn open_all(series: &Series) -> Result<Vec<(PathBuf, File)>, ExitCode> {
    match series.open_all() {
        Ok(files) if files.is_empty() => Err(failed(&unreadable(series.current(), &io::ErrorKind::NotFound.into()))),
        files => files.map_err(|error| failed(&unreadable(series.current(), &error))),
    }
}

fn open(path: &Path) -> Result<(PathBuf, File), ExitCode> {
    File::open(path).map(|file| (path.to_owned(), file)).map_err(|error| failed(&unreadable(path, &error)))
}

fn verified(files: Vec<(PathBuf, File)>) -> Result<Verifier, ExitCode> {
    let mut verifier = Verifier::default();
    for (path, file) in files {
        let read = verifier.file(&path.display().to_string(), forward(&path, file));
        read.map_err(|error| failed(&unreadable(&path, &error)))?;
    }
    verifier.finish();
    Ok(verifier)
}

pub(super) fn failed(message: &str) -> ExitCode {
    eprintln!("temporal-warden: {message}");
    Exit::Failed.into()
}

fn text(verifier: &Verifier) -> String {
    let chains = verifier.writers().iter().map(|(writer, at)| match at.first {
        1 => format!("{writer}: seq 1 to {}", at.last),
        first => format!("{writer}: seq {first} to {} (what came before is not in these files)", at.last),
    });
    let torn = verifier.torn().iter().map(|place| format!("{place}: no record (a line cut by a crash or a full disk)"));
    let wrong = verifier.findings().iter().map(|f| format!("{}: {}", f.place, f.fault));
    let shown = verifier.findings().len() as u64;
    let more = (verifier.found() > shown).then(|| format!("and {} more", verifier.found() - shown));
    let verdict = match (verifier.found(), verifier.writers().is_empty()) {
        (0, true) => "no records".to_owned(),
        (0, false) => "no record is missing or altered".to_owned(),
        (1, _) => "1 fault".to_owned(),
        (faults, _) => format!("{faults} faults"),
    };
    chains.chain(torn).chain(wrong).chain(more).chain([verdict]).collect::<Vec<_>>().join("\n")
}

fn as_json(verifier: &Verifier) -> String {
    let writers: serde_json::Map<_, _> = verifier
        .writers()
        .iter()
        .map(|(writer, at)| (writer.clone(), json!({ "first": at.first, "last": at.last })))
        .collect();
    let faults: Vec<_> =
        verifier.findings().iter().map(|f| json!({ "place": f.place, "fault": f.fault.to_string() })).collect();
    let (intact, torn) = (verifier.found() == 0, verifier.torn());
    json!({ "intact": intact, "writers": writers, "faults": faults, "found": verifier.found(), "torn": torn })
        .to_string()
}
