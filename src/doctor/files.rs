//! Certificates, keys and tokens on the disk, and the clock they are measured by.

use time::OffsetDateTime;

use super::Finding;
use crate::{
    config::Config,
    rotation::{self, Artefact, CA_CERT, Report, State},
};

pub(super) fn check(config: &Config, now: OffsetDateTime) -> Vec<Finding> {
    match rotation::inspect(config, now) {
        Ok(report) => {
            let mut findings = judge(&report, now);
            findings.extend(keyless(config.certs.own_ca.is_some(), &report));
            findings
        }
        Err(error) => {
            let fix = "run this as root in the server's container; `temporal-warden init` makes what is missing";
            vec![Finding::bad("files", error.to_string(), fix)]
        }
    }
}

fn judge(report: &Report, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = vec![clock(&report.artefacts, now)];
    findings.extend(report.problems.iter().map(|problem| {
        let (what, fix) = problem.split_once("; ").unwrap_or((problem, "see docs/security.md"));
        Finding::bad("files", what, fix)
    }));
    let wrong = report.artefacts.iter().filter(|artefact| !artefact.state.is_usable());
    findings.extend(wrong.filter(|artefact| artefact.state != State::NotYetValid).map(unusable));
    if report.is_good() {
        let due = report.artefacts.iter().filter_map(|artefact| artefact.renew_at).min();
        let due = due.map_or_else(String::new, |at| format!(", the next renewal is due on {}", at.date()));
        findings.push(Finding::good("files", format!("{} are in order{due}", report.artefacts.len())));
    }
    findings
}

/// A CA of the warden's own without its key: all is well until the first certificate is due.
fn keyless(own_ca: bool, report: &Report) -> Option<Finding> {
    let ca = report.artefacts.iter().find(|artefact| artefact.name == CA_CERT)?;
    if own_ca || ca.renew_at.is_some() || !ca.state.is_usable() {
        return None;
    }
    let due = report.artefacts.iter().filter(|a| a.name.ends_with(".crt")).filter_map(|a| a.renew_at).min();
    let due = due.map_or_else(String::new, |at| format!(", and the first certificate is due on {}", at.date()));
    let fix = "restore it from the backup; if it is elsewhere on purpose, see docs/operations.md, \"A CA whose key is elsewhere\"";
    Some(Finding::warning("files", format!("ca.key is not there: nothing can be issued or renewed{due}"), fix))
}

fn unusable(artefact: &Artefact) -> Finding {
    let detail = artefact.detail.as_deref().unwrap_or(artefact.state.word());
    let detail =
        if detail.contains(&artefact.name) { detail.to_owned() } else { format!("{} {detail}", artefact.name) };
    let remake = "temporal-warden init makes what is missing; generate-certs.sh and generate-jwt-tokens.sh renew";
    Finding::bad("files", detail, artefact.fix.as_deref().unwrap_or(remake))
}

/// What begins in the future was made under another time.
fn clock(artefacts: &[Artefact], now: OffsetDateTime) -> Finding {
    let ahead = artefacts.iter().filter(|a| a.state == State::NotYetValid).filter_map(|a| a.not_before).max();
    match ahead {
        None => Finding::good("clock", format!("{} UTC fits the certificates", now.date())),
        Some(at) => Finding::bad(
            "clock",
            format!("it says {} UTC, but there are files that begin on {}", now.date(), at.date()),
            "set the clock of the host right (NTP); only if it is right, make new ones: generate-certs.sh",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn artefact(state: State) -> Artefact {
        Artefact {
            name: "temporal-server.crt".to_owned(),
            path: "/etc/temporal/certs/temporal-server.crt".into(),
            state,
            not_before: Some(OffsetDateTime::UNIX_EPOCH + time::Duration::days(9)),
            not_after: None,
            renew_at: None,
            subject: None,
            serial: None,
            sha256: None,
            detail: None,
            fix: None,
        }
    }

    fn verdicts(state: State) -> Vec<(&'static str, Verdict)> {
        let report = Report { generation: Some(1), artefacts: vec![artefact(state)], problems: Vec::new() };
        judge(&report, OffsetDateTime::UNIX_EPOCH).iter().map(|f| (f.check, f.verdict)).collect()
    }

    #[test]
    fn a_file_of_the_future_is_the_clocks_fault_and_a_missing_one_its_own() {
        assert_eq!(verdicts(State::Good), [("clock", Verdict::Good), ("files", Verdict::Good)]);
        assert_eq!(verdicts(State::NotYetValid), [("clock", Verdict::Bad)]);
        assert_eq!(verdicts(State::Missing), [("clock", Verdict::Good), ("files", Verdict::Bad)]);
    }

    #[test]
    fn a_ca_without_its_key_is_said_long_before_something_is_due() {
        let ca = Artefact { name: CA_CERT.to_owned(), ..artefact(State::Good) };
        let leaf = Artefact { renew_at: Some(OffsetDateTime::UNIX_EPOCH), ..artefact(State::Good) };
        let report = |ca| Report { generation: Some(1), artefacts: vec![ca, leaf.clone()], problems: Vec::new() };
        let found = keyless(false, &report(ca.clone())).unwrap();
        let words =
            "ca.key is not there: nothing can be issued or renewed, and the first certificate is due on 1970-01-01";
        assert_eq!((found.verdict, found.detail.as_str()), (Verdict::Warning, words));
        assert_eq!(keyless(true, &report(ca.clone())), None, "a CA of the user's own is without it on purpose");
        assert_eq!(keyless(false, &report(Artefact { renew_at: Some(OffsetDateTime::UNIX_EPOCH), ..ca })), None);
    }

    #[test]
    fn every_file_that_is_wrong_comes_with_something_to_do() {
        for state in [State::Missing, State::Broken, State::Expired] {
            let finding = unusable(&artefact(state));
            assert!(finding.detail.starts_with("temporal-server.crt ") && finding.fix.is_some(), "{finding:?}");
        }
    }
}
