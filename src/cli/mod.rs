//! The command line: one file per sub-command, each reads arguments, calls, prints.

mod ask;
mod audit;
mod audit_report;
mod audit_tail;
mod cert;
mod completions;
mod config;
mod connect;
mod csr;
mod dependent;
mod doctor;
mod healthcheck;
mod init;
mod inspect;
mod install;
mod issue;
mod mint;
mod output;
mod profile;
mod revoke;
mod rotate;
mod run;
mod status;
pub mod temporal;
mod temporal_flags;
mod token;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

/// Exit codes of every command (contract §4): clap itself answers 2 for a usage error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked is done.
    Done = 0,
    /// It failed; the reason is on standard error.
    Failed = 1,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A production Temporal that is secure from the first `docker compose up`.
#[derive(Debug, Parser)]
#[command(name = "temporal-warden", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run as PID 1: make what is missing, start Temporal and the gateway, supervise them.
    #[command(
        after_help = "Examples:\n  temporal-warden run\n  temporal-warden run -- COMMAND ARGS…   (a plain init, like tini)"
    )]
    Run,
    /// Make what is missing (CA, certificates, keys, tokens) and exit.
    #[command(after_help = "Example:\n  WARDEN_CERTS_DIR=./certs temporal-warden init")]
    Init,
    /// Certificates: generate, retire, list, verify, issue, revoke, csr, install.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Tokens: generate, retire, list, mint, inspect, revoke.
    #[command(subcommand)]
    Token(token::Command),
    /// Make everything new: CA, certificates, signing key, tokens. What is in use goes on working.
    #[command(after_help = "Example:\n  temporal-warden rotate")]
    Rotate,
    /// Containers that are told after a rotation: list, restart.
    #[command(subcommand)]
    Dependent(dependent::Command),
    /// The audit log: tail, verify.
    #[command(subcommand, after_help = "Examples:\n  temporal-warden audit tail -f\n  temporal-warden audit verify")]
    Audit(audit::Command),
    /// Settings: show, diff.
    #[command(subcommand)]
    Config(config::Command),
    /// Read configuration, secret files, policy and certificates again, as SIGHUP does, and say what that changed.
    #[command(
        after_help = "Example:\n  docker exec app_data_temporal_server temporal-warden reload\nSee `temporal-warden config diff` for what it would do."
    )]
    Reload,
    /// Print a program that connects to this deployment: python, go, typescript, java or cli.
    #[command(
        after_help = "Examples:\n  docker exec app_data_temporal_server temporal-warden connect python > connect.py\n  temporal-warden connect go --address temporal.example.com:7233 --certs ./certs"
    )]
    Connect(connect::Arguments),
    /// Check the whole chain from outside in; for each failure the one thing to do. Exit 1 if anything is wrong.
    #[command(
        after_help = "Examples:\n  docker exec app_data_temporal_server temporal-warden doctor\n  temporal-warden doctor --address temporal.example.com:7233"
    )]
    Doctor(doctor::Arguments),
    /// What runs, what serves, what expires when.
    #[command(
        after_help = "Examples:\n  temporal-warden status\n  temporal-warden status --json | jq .serving\n  temporal-warden status --watch"
    )]
    Status(status::Arguments),
    /// Exit 0 when /health says SERVING, 1 otherwise (for HEALTHCHECK).
    #[command(after_help = "Example:\n  docker exec app_data_temporal_server temporal-warden healthcheck")]
    Healthcheck,
    /// Print a script with which a shell completes this command line.
    #[command(
        after_help = "Examples:\n  source <(temporal-warden completions bash)\n  temporal-warden completions zsh > ~/.zfunc/_temporal-warden"
    )]
    Completions(completions::Arguments),
    /// The gateway process; started by `run`.
    #[command(hide = true)]
    Gateway,
    /// The database schema step; started by `run`.
    #[command(hide = true)]
    Schema,
}

/// Runs the command line `args` (the program's name first).
pub fn main(args: Vec<OsString>) -> ExitCode {
    let name = args.first().map(|a| Path::new(a).file_name().unwrap_or(a));
    let is_front = name.is_some_and(|n| n == "temporal");
    if !is_front && args.get(1).is_some_and(|a| a == "run") {
        return run::main(&args);
    }
    crate::supervisor::unblock_signals();
    if is_front {
        return exit_code(temporal::main(args.into_iter().skip(1)));
    }
    match Cli::parse_from(args).command {
        Command::Run => unreachable!("dispatched above, before anything else runs"),
        Command::Init => init::main(),
        Command::Cert(command) => cert::main(&command),
        Command::Token(command) => token::main(&command),
        Command::Rotate => rotate::main(),
        Command::Dependent(command) => dependent::main(&command),
        Command::Config(command) => config::main(&command),
        Command::Reload => ask::running(&crate::admin::Request::Reload),
        Command::Audit(command) => audit::main(&command),
        Command::Connect(arguments) => connect::main(&arguments),
        Command::Doctor(arguments) => doctor::main(&arguments),
        Command::Status(arguments) => status::main(&arguments),
        Command::Healthcheck => healthcheck::main(),
        Command::Completions(arguments) => completions::main(&arguments),
        Command::Gateway => crate::gateway::run(),
        Command::Schema => exit_code(crate::temporal::schema_run::main()),
    }
}

/// The long help of one sub-command, for the one that is dispatched before the parser runs.
fn help_of(name: &str) -> String {
    let mut cli = <Cli as clap::CommandFactory>::command();
    cli.build();
    cli.find_subcommand_mut(name).map(|c| c.render_long_help().to_string()).unwrap_or_default()
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
