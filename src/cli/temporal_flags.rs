//! The Temporal CLI's command line as words: which argument is a flag, which its value, which stands alone.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

/// The front's own flags, without dashes. Both take a value.
pub(super) const AUTH_PLUGIN: &str = "auth-plugin";
/// See [`AUTH_PLUGIN`].
pub(super) const OWN: [&str; 2] = [AUTH_PLUGIN, "auth-token-file"];

/// One-letter flags that take a value in every command that has them. (`-f` takes one in `server start-dev` alone.)
const SHORT_WITH_VALUE: &[u8] = b"adeiknopqrstvw";

/// Flags of CLI 1.9 that take a value: the argument after one of them is never a flag of the front. One string: a table of
/// them would be 174 pointers that every start of the program relocates.
const WITH_VALUE: &str = "\
    active-cluster activity-id address api-key aws-agentcore-assume-role-arn aws-agentcore-assume-role-external-id \
    aws-agentcore-endpoint-arn aws-lambda-assume-role-arn aws-lambda-assume-role-external-id aws-lambda-function-arn \
    build-id calendar catchup-window client-authority client-connect-timeout cluster codec-auth codec-endpoint \
    codec-header color command-timeout concurrency config-file cron data db-filename deployment-name depth description \
    description-file dynamic-config-value email end-time endpoint env env-file event-id execution-timeout fairness-key \
    fairness-key-rps-limit-default fairness-key-rps-limit-reason fairness-key-weight fairness-weight \
    first-execution-run-id fold frontend-address gcp-cloud-run-initial-instances gcp-cloud-run-max-instances \
    gcp-cloud-run-min-instances gcp-cloud-run-project gcp-cloud-run-region \
    gcp-cloud-run-scale-down-stabilization-duration gcp-cloud-run-service-account gcp-cloud-run-utilization-target \
    gcp-cloud-run-worker-pool grpc-meta headers heartbeat-timeout history-archival-state history-uri http-port \
    id-conflict-policy id-reuse-policy identity input input-file input-meta interval ip jitter job-id key limit \
    log-format log-level manager-identity max-sets memo metadata metrics-port name namespace namespace-id notes \
    operation operation-id output overlap-policy page-size partitions-legacy percentage port priority-key profile prop \
    query queue-rps-limit queue-rps-limit-reason reapply-exclude reason reject-condition remaining-actions \
    remove-entries replication-state result retention retry-backoff-coefficient retry-initial-interval \
    retry-maximum-attempts retry-maximum-interval rps rule-index run-id run-timeout schedule-id schedule-memo \
    schedule-search-attribute schedule-to-close-timeout schedule-to-start-timeout search-attribute select-build-id \
    service signal-input signal-input-file signal-input-meta signal-name source source-build-id sqlite-pragma \
    start-delay start-time start-to-close-timeout static-details static-summary target target-build-id target-namespace \
    target-task-queue target-url task-queue task-queue-type task-queue-type-legacy task-timeout time-format time-zone \
    tls-ca-data tls-ca-path tls-cert-data tls-cert-path tls-key-data tls-key-path tls-server-name type ui-asset-path \
    ui-codec-endpoint ui-ip ui-port ui-public-path update-first-execution-run-id update-id update-input \
    update-input-file update-input-meta update-name update-wait-for-stage value versioning-override-behavior \
    versioning-override-build-id versioning-override-deployment-name visibility-archival-state visibility-uri \
    wait-for-stage worker-instance-key workflow-id";

/// One flag with its value, or one argument that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A flag as written, and what belongs to it.
    Flag {
        /// Its long name where known, without dashes.
        name: String,
        /// Its arguments, one (`--f=v`, `--f`) or two (`--f v`).
        args: Vec<OsString>,
        /// Its value.
        value: Option<OsString>,
    },
    /// A command, or its argument.
    Positional(OsString),
    /// `--` and what follows.
    Verbatim(Vec<OsString>),
}

impl Word {
    /// The flag's name.
    pub(super) fn flag(&self) -> Option<&str> {
        match self {
            Self::Flag { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The flag's value.
    pub(super) fn value(&self) -> Option<&OsString> {
        match self {
            Self::Flag { value, .. } => value.as_ref(),
            _ => None,
        }
    }

    /// The flag's value, taken.
    pub(super) fn into_value(self) -> Option<OsString> {
        match self {
            Self::Flag { value, .. } => value,
            _ => None,
        }
    }

    /// Whether this is the switch `name`, on.
    pub(super) fn is_switched_on(&self, name: &str) -> bool {
        self.flag() == Some(name) && !self.value().is_some_and(|v| v == "false" || v == "0")
    }

    /// The argument, where it stands alone.
    pub(super) fn positional(&self) -> Option<&OsString> {
        match self {
            Self::Positional(arg) => Some(arg),
            _ => None,
        }
    }

    /// A flag `name`, written `written` with its value.
    pub(super) fn flag_with(written: &str, name: &str, value: OsString) -> Self {
        Self::Flag { name: name.to_owned(), args: vec![written.into(), value.clone()], value: Some(value) }
    }

    /// As it was written.
    pub(super) fn into_args(self) -> Vec<OsString> {
        match self {
            Self::Flag { args, .. } | Self::Verbatim(args) => args,
            Self::Positional(arg) => vec![arg],
        }
    }
}

/// Splits a command line.
pub(super) fn words(args: impl IntoIterator<Item = OsString>) -> Vec<Word> {
    let mut args = args.into_iter();
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        let word = match arg.as_bytes() {
            b"--" => Word::Verbatim(std::iter::once(arg).chain(args.by_ref()).collect()),
            [b'-', b'-', ..] => long(arg, &mut args),
            [b'-', letter, ..] => short(*letter, arg, &mut args),
            _ => Word::Positional(arg),
        };
        words.push(word);
    }
    words
}

fn long(arg: OsString, rest: &mut impl Iterator<Item = OsString>) -> Word {
    let text = arg.to_string_lossy().into_owned();
    let name = text.trim_start_matches("--");
    if let Some((name, _)) = name.split_once('=') {
        let start = name.len() + 3;
        let value = std::ffi::OsStr::from_bytes(arg.as_bytes().get(start..).unwrap_or_default()).to_owned();
        return Word::Flag { name: name.to_owned(), args: vec![arg], value: Some(value) };
    }
    let takes_value = OWN.contains(&name) || WITH_VALUE.split(' ').any(|known| known == name);
    with_value(name.to_owned(), arg, takes_value, rest)
}

/// `-nNAME` holds its value; `-n` takes the next argument.
fn short(letter: u8, arg: OsString, rest: &mut impl Iterator<Item = OsString>) -> Word {
    let name = if letter == b'n' { "namespace".to_owned() } else { char::from(letter).to_string() };
    let takes_value = arg.len() == 2 && SHORT_WITH_VALUE.contains(&letter);
    with_value(name, arg, takes_value, rest)
}

fn with_value(name: String, arg: OsString, takes_value: bool, rest: &mut impl Iterator<Item = OsString>) -> Word {
    let value = takes_value.then(|| rest.next()).flatten();
    let args = std::iter::once(arg).chain(value.clone()).collect();
    Word::Flag { name, args, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_flags_is_sorted() {
        assert!(WITH_VALUE.split(' ').is_sorted());
    }

    #[test]
    fn splitting_and_joining_changes_nothing() {
        let line = ["workflow", "start", "-n", "x", "--input=1", "--tls", "--type", "-t", "-w", "--", "--auth-plugin"];
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        let again: Vec<OsString> = words(args.clone()).into_iter().flat_map(Word::into_args).collect();
        assert_eq!(again, args);
    }
}
