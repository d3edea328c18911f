//! `temporal-warden doctor`

use std::process::ExitCode;

use clap::Args;

use super::{
    Exit, ask,
    output::{print, print_line},
};
use crate::{
    admin::{Reply, Request},
    clock,
    config::Config,
    doctor::{self, Finding, Verdict},
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The door as clients reach it; this host's own port when not given.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let address = arguments.address.clone().unwrap_or_else(|| format!("localhost:{}", config.gateway.listen.port()));
    let status = match ask::ask(&config, &Request::Status, |_| {}) {
        Ok(Reply::Status(status)) => Ok(*status),
        Ok(other) => Err(ask::stranger(&other)),
        Err(error) => Err(error.to_string()),
    };
    let findings = match examined(&config, status, &address) {
        Ok(findings) => findings,
        Err(error) => return ask::failed(&error),
    };
    match arguments.json {
        true => print_line(&serde_json::json!(findings).to_string()),
        false => print(&render(&findings)),
    }
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    if bad { Exit::Failed.into() } else { Exit::Done.into() }
}

fn examined(
    config: &Config,
    status: Result<crate::admin::status::Status, String>,
    address: &str,
) -> std::io::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(doctor::examine(config, status, address, clock::now())))
}

/// A line each, what to do below it, and a sum at the end.
fn render(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "✅",
            Verdict::Warning => "⚠️ ",
            Verdict::Bad => "❌",
            Verdict::Skipped => "– ",
        };
        out += &format!("{mark} {:<10} {}\n", finding.check, finding.detail.replace('\n', "\n              "));
        if let Some(fix) = &finding.fix {
            out += &format!("              → {fix}\n");
        }
    }
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    out + &format!("{} wrong, {} to look at\n", count(Verdict::Bad), count(Verdict::Warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_followed_by_what_to_do() {
        let (detail, fix) = ("temporal:7233 does not answer".to_owned(), Some("open it".to_owned()));
        let shown = render(&[Finding { check: "port", verdict: Verdict::Bad, detail, fix }]);
        assert_eq!(
            shown,
            "❌ port       temporal:7233 does not answer\n              → open it\n1 wrong, 0 to look at\n"
        );
    }
}
