//! `temporal-warden man`: the manual as roff, made of what `--help` says.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Command, builder::Resettable};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{Exit, completions::shown, output::print};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write a page for each command there instead of printing the first one.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let mut whole = shown();
    whole.build();
    let done = match &arguments.out {
        None => page(&whole).map(|text| print(&String::from_utf8_lossy(&text))),
        Some(folder) => fs::create_dir_all(folder).and_then(|()| write(folder, &whole)),
    };
    match (done, &arguments.out) {
        (Ok(()), _) => Exit::Done.into(),
        (Err(error), out) => {
            let folder = out.as_deref().unwrap_or(Path::new("standard output"));
            eprintln!(
                "temporal-warden: {} can't be written: {error}; name another folder with --out",
                folder.display()
            );
            Exit::Failed.into()
        }
    }
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command.clone().after_long_help(Resettable::Reset)).render(&mut text)?;
    let rest = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    text.extend(sections(&rest).to_roff().into_bytes());
    Ok(text)
}

/// What follows the options in `--help` (help/*.txt): blocks, each with a heading or plain text, whose lines stay lines.
fn sections(text: &str) -> Roff {
    let mut page = Roff::new();
    for block in text.trim_end().split("\n\n") {
        let (heading, lines) = match block.split_once(":\n") {
            Some((heading, lines)) if !heading.contains(' ') || heading == "Exit status" => (heading, lines),
            _ => ("", block),
        };
        match heading {
            "" => page.control("PP", []),
            heading => page.control("SH", [heading.to_uppercase().as_str()]),
        };
        page.control("nf", []);
        for line in lines.lines() {
            page.text([roman(line)]);
        }
        page.control("fi", []);
    }
    page
}

/// `temporal-warden.1`, `temporal-warden-cert.1`, `temporal-warden-cert-issue.1`, …
fn write(folder: &Path, command: &Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), page(command)?)?;
    command.get_subcommands().filter(|sub| sub.get_name() != "help").try_for_each(|sub| write(folder, sub))
}
