//! PID 1, its children, and what it published.

use super::Finding;
use crate::admin::status::{Child, Status};

/// Restarts of one child from which on it is said.
const MANY: u32 = 3;

pub(super) fn check(status: &Result<Status, String>) -> Vec<Finding> {
    let status = match status {
        Ok(status) => status,
        Err(why) if why.contains("is for root only") => {
            return vec![Finding::bad(
                "pid 1",
                why,
                "run this as root: docker exec --user 0 app_data_temporal_server …",
            )];
        }
        Err(why) => {
            let fix =
                "start it (`docker compose up -d temporal`); `docker logs app_data_temporal_server` says why it ended";
            return vec![Finding::bad("pid 1", why, fix)];
        }
    };
    let mut findings = vec![Finding::good("pid 1", format!("temporal-warden {} runs", status.version))];
    let taken_back = "if that is not meant, take it back (docs/configuration.md)";
    findings.extend(status.warnings.iter().map(|warning| Finding::warning("settings", warning, taken_back)));
    findings.extend(status.children.iter().map(child));
    let fix = "mount its volume writable for the server and read-only for its consumer";
    let failed = status.bundles.iter().filter(|bundle| bundle.failed);
    findings.extend(failed.map(|bundle| Finding::bad("bundle", &bundle.state, fix)));
    findings
}

fn child(child: &Child) -> Finding {
    let last = child.last_exit.as_deref().unwrap_or("none");
    match child.state.as_str() {
        "ready" if child.restarts < MANY => Finding::good("process", format!("{} is ready", child.name)),
        "ready" => Finding::warning(
            "process",
            format!("{} is ready after {} restarts, the last exit: {last}", child.name, child.restarts),
            format!("read why it ended: docker logs app_data_temporal_server | grep -F '[{}]'", child.name),
        ),
        state => Finding::bad(
            "process",
            format!("{} is {state}, the last exit: {last}", child.name),
            format!(
                "wait for its start, or read why not: docker logs app_data_temporal_server | grep -F '[{}]'",
                child.name
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::doctor::Verdict;

    fn found(state: &str, restarts: u32) -> Finding {
        let name = "temporal".to_owned();
        let since = OffsetDateTime::UNIX_EPOCH;
        child(&Child { name, state: state.to_owned(), pid: None, restarts, since, last_exit: None })
    }

    #[test]
    fn a_child_that_restarts_again_and_again_is_said_even_when_it_is_ready() {
        let verdicts = [("ready", 0), ("ready", 3), ("backoff", 1)].map(|(state, n)| found(state, n).verdict);
        assert_eq!(verdicts, [Verdict::Good, Verdict::Warning, Verdict::Bad]);
        assert_eq!(found("backoff", 1).detail, "temporal is backoff, the last exit: none");
    }

    #[test]
    fn with_no_pid_1_nothing_else_is_said_of_it() {
        let findings = check(&Err("no socket".to_owned()));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].check == "pid 1" && findings[0].fix.as_ref().unwrap().starts_with("start it"));
        let foreign =
            check(&Err("the control socket /x is for root only: Permission denied; run this as root".to_owned()));
        assert!(foreign[0].fix.as_ref().unwrap().starts_with("run this as root"), "{foreign:?}");
    }
}
