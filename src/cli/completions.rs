//! `temporal-warden completions SHELL`

use std::{io, process::ExitCode};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, output::print};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let mut script = io::Cursor::new(Vec::new());
    clap_complete::generate(arguments.shell, &mut shown(), "temporal-warden", &mut script);
    print(&String::from_utf8_lossy(script.get_ref()));
    Exit::Done.into()
}

/// The command line without the sub-commands that only `run` starts: clap_complete would offer hidden ones too.
pub(super) fn shown() -> Command {
    let whole = Cli::command();
    let shown: Vec<_> = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let [about, help] = [whole.get_about(), whole.get_after_long_help()].map(|text| text.cloned().unwrap_or_default());
    Command::new("temporal-warden")
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_long_help(help)
        .subcommands(shown)
}
