//! `temporal-warden healthcheck`: asks PID 1, which knows; nothing is probed here.

use std::process::ExitCode;

use super::{Exit, ask, output::print_line};
use crate::admin::{Reply, Request};

pub(super) fn main() -> ExitCode {
    let config = match ask::configuration() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match ask::ask(&config, &Request::Health, |_| {}) {
        Ok(Reply::Health { serving: true, .. }) => {
            print_line("SERVING");
            Exit::Done.into()
        }
        Ok(Reply::Health { reason, .. }) => {
            print_line(&format!("NOT_SERVING: {reason}"));
            Exit::Failed.into()
        }
        Ok(other) => {
            print_line(&format!("NOT_SERVING: {}", ask::stranger(&other)));
            Exit::Failed.into()
        }
        Err(error) => {
            print_line(&format!("NOT_SERVING: {error}"));
            Exit::Failed.into()
        }
    }
}
