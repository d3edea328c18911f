//! `temporal-warden config …`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{
    Exit, ask,
    output::{print, print_line},
};
use crate::{admin::Request, config::load};

/// Sub-commands of `config`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every setting, its value and where that came from.
    ///
    /// Secrets are never shown.
    #[command(after_long_help = include_str!("help/config_show.txt"))]
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what is configured but not in force, and what it takes.
    #[command(after_long_help = include_str!("help/config_diff.txt"))]
    Diff,
}

pub(super) fn main(command: &Command) -> ExitCode {
    let Command::Show { json } = command else { return ask::running(&Request::ConfigDiff) };
    let rows = match load::settings_of_process() {
        Ok(rows) => rows,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Failed.into();
        }
    };
    if *json {
        let rows: Vec<_> =
            rows.iter().map(|r| json!({ "name": r.name, "value": r.value, "source": r.source })).collect();
        print_line(&serde_json::Value::from(rows).to_string());
    } else {
        let line = |row: &load::Row| format!("{:<34} {:<44} {}\n", row.name, row.value, row.source);
        print(&rows.iter().map(line).collect::<String>());
    }
    Exit::Done.into()
}
