//! `WARDEN_POLICY_FILE`, read at the start and at each reload.

use std::{fs, io, path::PathBuf, rc::Rc};

use tracing::{info, warn};

use super::{Warden, desk};
use crate::{
    config::Config,
    gateway::{link::Rule, policy::parse},
};

/// A policy file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It can't be read.
    #[error("WARDEN_POLICY_FILE {} cannot be read: {source}; give a file the warden can read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// What is wrong in it, one line each.
    #[error("{}", wrong.join("\n"))]
    Wrong {
        /// The lines, each with file and key.
        wrong: Vec<String>,
    },
}

/// The rules of the file; none without one.
pub(super) fn read(config: &Config) -> Result<Vec<Rule>, PolicyError> {
    let Some(path) = &config.gateway.policy_file else { return Ok(Vec::new()) };
    let text = fs::read_to_string(path).map_err(|source| PolicyError::Read { path: path.clone(), source })?;
    let rules = parse(&text).map_err(|errors| PolicyError::Wrong {
        wrong: errors.into_iter().map(|error| format!("{}: {error}", path.display())).collect(),
    })?;
    Ok(rules)
}

/// What the file opens, for the log.
pub(super) fn say(config: &Config, rules: &[Rule]) {
    let Some(path) = &config.gateway.policy_file else { return };
    let methods: usize = rules.iter().map(|rule| rule.methods.len()).sum();
    info!(rules = rules.len(), methods, "in force: {}", path.display());
}

/// Reads it again and brings what changed into force; a file that can't be used changes nothing.
pub(super) async fn reload(warden: &Rc<Warden>) {
    match read(&warden.config()) {
        Ok(rules) if rules == *warden.rules.borrow() => {}
        Ok(rules) => {
            say(&warden.config(), &rules);
            warden.rules.replace(rules);
            if let Err(reason) = desk::publish_again(warden).await {
                warn!("the policy did not come into force: {reason}");
            }
        }
        Err(error) => warn!("the policy before stays in force: {error}"),
    }
}
