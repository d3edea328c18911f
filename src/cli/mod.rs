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
mod man;
mod mint;
mod output;
mod paint;
mod profile;
mod revoke;
mod rotate;
mod run;
mod status;
pub mod temporal;
mod temporal_flags;
mod token;
mod wait;

use std::{ffi::OsString, process::ExitCode};

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
#[command(
    name = "temporal-warden",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_long_help = include_str!("help/warden.txt")
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run as PID 1: make what is missing, start and supervise everything.
    ///
    /// Temporal and the gateway are its children. With `-- COMMAND` it is a plain init for that command.
    #[command(after_long_help = include_str!("help/run.txt"))]
    Run,
    /// Make what is missing (CA, certificates, keys, tokens) and exit.
    #[command(after_long_help = include_str!("help/init.txt"))]
    Init,
    /// Manage certificates: generate, retire, list, revoke, csr, issue, install, verify.
    #[command(subcommand, after_long_help = include_str!("help/cert.txt"))]
    Cert(cert::Command),
    /// Manage tokens: generate, retire, list, mint, inspect, revoke.
    #[command(subcommand, after_long_help = include_str!("help/token.txt"))]
    Token(token::Command),
    /// Make everything new: CA, certificates, signing key, tokens.
    ///
    /// What is in use goes on working.
    #[command(after_long_help = include_str!("help/rotate.txt"))]
    Rotate,
    /// Manage containers that are told after a rotation: list, restart.
    #[command(subcommand, after_long_help = include_str!("help/dependent.txt"))]
    Dependent(dependent::Command),
    /// Read the audit log: tail, report, verify.
    #[command(subcommand, after_long_help = include_str!("help/audit.txt"))]
    Audit(audit::Command),
    /// Look at settings: show, diff.
    #[command(subcommand, after_long_help = include_str!("help/config.txt"))]
    Config(config::Command),
    /// Read configuration, secret files, policy and certificates again.
    ///
    /// As SIGHUP does; it says what that changed.
    #[command(after_long_help = include_str!("help/reload.txt"))]
    Reload,
    /// Print a program that connects to this deployment.
    #[command(after_long_help = include_str!("help/connect.txt"))]
    Connect(connect::Arguments),
    /// Check the whole chain from outside in.
    ///
    /// DNS name, port, TLS, names, clock, token, scope, database, Docker, files; for each failure the one thing to do.
    #[command(after_long_help = include_str!("help/doctor.txt"))]
    Doctor(doctor::Arguments),
    /// Show what runs, what serves, what expires when.
    #[command(after_long_help = include_str!("help/status.txt"))]
    Status(status::Arguments),
    /// Ask whether /health says SERVING, for HEALTHCHECK.
    #[command(after_long_help = include_str!("help/healthcheck.txt"))]
    Healthcheck,
    /// Print a script with which a shell completes this command line.
    #[command(after_long_help = include_str!("help/completions.txt"))]
    Completions(completions::Arguments),
    /// Print the manual page, as `man -l` shows it.
    #[command(after_long_help = include_str!("help/man.txt"))]
    Man(man::Arguments),
    /// The gateway process; started by `run`.
    #[command(hide = true)]
    Gateway,
    /// The database schema step; started by `run`.
    #[command(hide = true)]
    Schema,
}

/// Runs the command line `args` (the program's name first).
pub fn main(args: Vec<OsString>) -> ExitCode {
    let is_front =
        args.first().is_some_and(|called| called == "temporal" || called.as_encoded_bytes().ends_with(b"/temporal"));
    if !is_front && args.get(1).is_some_and(|a| a == "run") {
        return run::main(&args);
    }
    aws_lc_rs::init();
    crate::supervisor::unblock_signals();
    if is_front {
        return exit_code(temporal::main(args.into_iter().skip(1)));
    }
    command(args)
}

/// Not inlined: its frame holds every command's arguments, and `run -- COMMAND` needs none of those pages.
#[inline(never)]
fn command(args: Vec<OsString>) -> ExitCode {
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
        Command::Man(arguments) => man::main(&arguments),
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
