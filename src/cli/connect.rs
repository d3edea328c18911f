//! `temporal-warden connect …`: a program that connects to this deployment, to be copied as it is.
//!
//! Each template is a whole program. A line that ends in `§tls`, `§plain`, `§auth`, `§open` or `§files` is there only with
//! TLS, without it, with tokens, without them, or when files are read at all.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Exit, ask, output::print};
use crate::config::Config;

/// Checked in the server's certificate whatever the address is: it is always among its names (contract §1).
pub(super) const SERVER_NAME: &str = "temporal-server";
/// Where applications see their bundle (contract §1).
const BUNDLE: &str = "/etc/temporal/certs";

/// Arguments of `connect`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The language, or `cli`.
    language: Language,
    /// Where the program reaches the gateway; the compose service, or this host outside a container.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Where the program finds ca.crt, temporal-client.crt, temporal-client.key and client-token.jwt.
    #[arg(long, value_name = "FOLDER")]
    certs: Option<String>,
}

/// What the program is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Python,
    Go,
    Typescript,
    Java,
    Cli,
}

impl Language {
    fn template(self) -> &'static str {
        match self {
            Self::Python => include_str!("connect/python.txt"),
            Self::Go => include_str!("connect/go.txt"),
            Self::Typescript => include_str!("connect/typescript.txt"),
            Self::Java => include_str!("connect/java.txt"),
            Self::Cli => include_str!("connect/cli.txt"),
        }
    }
}

/// What a program must know of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Deployment {
    address: String,
    certs: String,
    namespace: String,
    tls: bool,
    auth: bool,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let mut deployment = deployment(&config);
    if let Some(address) = &arguments.address {
        deployment.address.clone_from(address);
    }
    if let Some(certs) = &arguments.certs {
        certs.trim_end_matches('/').clone_into(&mut deployment.certs);
    }
    print(&fill(arguments.language.template(), &deployment));
    Exit::Done.into()
}

/// In the container applications are other services of the compose file; elsewhere they run on this host.
fn deployment(config: &Config) -> Deployment {
    let certs = config.certs.dir.to_string_lossy().into_owned();
    let host = if certs == BUNDLE { "temporal" } else { "localhost" };
    let namespace = config.temporal.namespaces.first().map_or("default", String::as_str);
    Deployment {
        address: format!("{host}:{}", config.gateway.listen.port()),
        certs,
        namespace: namespace.to_owned(),
        tls: config.tls_enabled,
        auth: config.auth_enabled,
    }
}

fn fill(template: &str, to: &Deployment) -> String {
    let kept = |line: &str| match line.rsplit_once('§') {
        None => Some(line.to_owned()),
        Some((code, mark)) => holds(mark, to).then(|| code.trim_end().to_owned()),
    };
    let program: Vec<String> = template.lines().filter_map(kept).collect();
    (program.join("\n") + "\n")
        .replace("⟨address⟩", &to.address)
        .replace("⟨certs⟩", &to.certs)
        .replace("⟨namespace⟩", &to.namespace)
        .replace("⟨server_name⟩", SERVER_NAME)
}

fn holds(mark: &str, to: &Deployment) -> bool {
    match mark {
        "tls" => to.tls,
        "plain" => !to.tls,
        "auth" => to.auth,
        "open" => !to.auth,
        _ => to.tls || to.auth,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tls: bool, auth: bool) -> Deployment {
        let (address, certs) = ("temporal:7233".to_owned(), BUNDLE.to_owned());
        Deployment { address, certs, namespace: "default".to_owned(), tls, auth }
    }

    #[test]
    fn no_mark_and_no_placeholder_is_left_in_any_program() {
        for language in Language::value_variants() {
            for (tls, auth) in [(true, true), (true, false), (false, true), (false, false)] {
                let program = fill(language.template(), &at(tls, auth));
                assert!(!program.contains(['§', '⟨', '⟩']), "{language:?} {tls} {auth}:\n{program}");
                assert!(program.contains("temporal:7233"), "{language:?}");
                assert_eq!(program.contains("client-token.jwt"), auth, "{language:?} {tls} {auth}");
                assert_eq!(program.contains("temporal-client.key"), tls, "{language:?} {tls} {auth}");
            }
        }
    }

    #[test]
    fn every_mark_is_a_known_one() {
        for language in Language::value_variants() {
            let marks = language.template().lines().filter_map(|line| line.rsplit_once('§'));
            for (code, mark) in marks {
                assert!(["tls", "plain", "auth", "open", "files"].contains(&mark), "{language:?}: {code}§{mark}");
            }
        }
    }
}
