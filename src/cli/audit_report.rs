//! `temporal-warden audit report`: a day of the log on one page, by who did what, refusals first.

use std::{io, ops::ControlFlow, process::ExitCode};

use clap::Args;
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Exit,
    audit::{configured, failed, unreadable},
    audit_tail::moment,
    output::print_line,
};
use crate::{
    audit::{Backward, Entry, Filter, Pair, Report, Series, Tally, escaped},
    clock,
};

/// Looked back where nothing else is asked.
const DAY: Duration = Duration::DAY;

/// Which time, and how it is shown.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// From this time on: `90m`, `7d` (ago), or RFC 3339; 24h without.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<OffsetDateTime>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<OffsetDateTime>,
    /// Only of this principal: `sub` of the token or subject of the certificate.
    #[arg(long, value_name = "SUB")]
    principal: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let series = match configured() {
        Ok(series) => series,
        Err(exit) => return exit,
    };
    let now = clock::now();
    let (since, until) = (arguments.since.unwrap_or(now - DAY), arguments.until.unwrap_or(now));
    let principal = arguments.principal.clone();
    // What began at this very moment is in the next one.
    let filter = Filter { principal, since: Some(since), until: Some(until), ..Filter::default() };
    match report(&series, &filter) {
        Ok(report) => {
            let time = [since, until].map(|at| at.truncate_to_second().format(&Rfc3339).unwrap_or_default());
            print_line(&if arguments.json { as_json(&report, &time) } else { text(&report, &time) });
            Exit::Done.into()
        }
        Err(error) => failed(&unreadable(series.current(), &error)),
    }
}

fn report(series: &Series, filter: &Filter) -> io::Result<Report> {
    let mut report = Report::default();
    let files = series.open_all()?;
    if files.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    for (path, file) in files.into_iter().rev() {
        let mut lines = Backward::of(&path, file)?;
        let mut add = |_, entry: Entry| {
            report.add(&entry);
            ControlFlow::Continue(())
        };
        if filter.search(&mut lines, &mut add)?.is_break() {
            break;
        }
    }
    Ok(report)
}

fn text(report: &Report, [since, until]: &[String; 2]) -> String {
    let (refused, allowed) = report.totals();
    let (denied, passed) = (report.denied(), report.allowed());
    let mut lines = vec![format!("{since} to {until}: {} operations, {refused} refused", refused + allowed)];
    if !denied.is_empty() {
        lines.push(String::new());
        let cells = |(pair, tally): &(&Pair, &Tally)| {
            let reason = escaped(tally.reason.as_deref().unwrap_or_default());
            [tally.count.to_string(), escaped(&pair.who), what(pair), last(tally), reason]
        };
        lines.extend(table(["REFUSED", "WHO", "WHAT", "LAST", "ITS REASON"], denied.iter().map(cells)));
    }
    if !passed.is_empty() {
        lines.push(String::new());
        let cells = |(pair, tally): &(&Pair, &Tally)| {
            [tally.count.to_string(), escaped(&pair.who), what(pair), last(tally), tally.failed.to_string()]
        };
        lines.extend(table(["ALLOWED", "WHO", "WHAT", "LAST", "OF THESE FAILED"], passed.iter().map(cells)));
    }
    lines.join("\n")
}

/// Lines with the first column to the right and each other one as wide as it has to be.
fn table(head: [&str; 5], rows: impl Iterator<Item = [String; 5]>) -> Vec<String> {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [count, who, what, last] = [0, 1, 2, 3].map(width);
    let line = |[a, b, c, d, e]: &[String; 5]| format!("{a:>count$}  {b:who$}  {c:what$}  {d:last$}  {e}");
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// The method; where it is no gRPC method its kind before it.
fn what(pair: &Pair) -> String {
    escaped(&match pair.service.as_str() {
        "warden" | "tls" => format!("{} {}", pair.service, pair.method),
        _ => pair.method.clone(),
    })
}

fn last(tally: &Tally) -> String {
    let at = OffsetDateTime::parse(&tally.last, &Rfc3339);
    at.map_or_else(|_| escaped(&tally.last), |at| at.truncate_to_second().format(&Rfc3339).unwrap_or_default())
}

fn as_json(report: &Report, [since, until]: &[String; 2]) -> String {
    let (refused, allowed) = report.totals();
    let rows = |rows: Vec<(&Pair, &Tally)>| -> Vec<_> {
        let row = |(pair, tally): (&Pair, &Tally)| {
            json!({
                "who": pair.who, "service": pair.service, "method": pair.method,
                "count": tally.count, "failed": tally.failed, "last": tally.last, "reason": tally.reason,
            })
        };
        rows.into_iter().map(row).collect()
    };
    json!({
        "since": since, "until": until, "operations": refused + allowed, "refused": refused,
        "denied": rows(report.denied()), "allowed": rows(report.allowed()),
    })
    .to_string()
}
