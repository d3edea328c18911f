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
    /// Every setting, its value and where that came from; secrets are never shown. Exit 1 if any is wrong.
    #[command(
        after_help = "Examples:\n  temporal-warden config show\n  temporal-warden config show --json | jq '.[] | select(.source != \"default\")'"
    )]
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// What is configured but not in force in the running warden, and what it takes. Exit 1 if anything is wrong.
    #[command(after_help = "Example:\n  docker exec app_data_temporal_server temporal-warden config diff")]
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
