//! The labels of a dependent (contract §7): pure, from text to a wish.

use std::collections::BTreeMap;

use crate::{config::Action, rotation::Change};

/// All our labels begin so.
const PREFIX: &str = "temporal-warden.";
const ON_ROTATION: &str = "temporal-warden.on-rotation";
const EVENTS: &str = "temporal-warden.events";
const ORDER: &str = "temporal-warden.order";
/// Without a number of its own a dependent comes in the middle.
const MIDDLE: u32 = 50;

/// What a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What to do.
    pub action: Action,
    /// After which changes.
    pub changes: Vec<Change>,
    /// Lower comes first.
    pub order: u32,
}

/// The wish of a container with these labels; `None` when it has none of ours. What is wrong comes back in words.
pub(super) fn wish(labels: &BTreeMap<String, String>) -> Option<Result<Wish, String>> {
    let mut ours = labels.keys().filter(|key| key.starts_with(PREFIX));
    ours.next()?;
    Some(read(labels))
}

fn read(labels: &BTreeMap<String, String>) -> Result<Wish, String> {
    let known = [ON_ROTATION, EVENTS, ORDER];
    if let Some(key) = labels.keys().find(|key| key.starts_with(PREFIX) && !known.contains(&key.as_str())) {
        return Err(format!("has the unknown label {key}; there are {}", known.join(", ")));
    }
    let Some(text) = labels.get(ON_ROTATION) else { return Err(format!("lacks the label {ON_ROTATION}")) };
    let order = match labels.get(ORDER).map(|text| text.trim().parse()) {
        None => MIDDLE,
        Some(Ok(order)) => order,
        Some(Err(_)) => return Err(format!("has {ORDER}={:?}, which is no number", labels[ORDER])),
    };
    Ok(Wish { action: action(text.trim())?, changes: changes(labels.get(EVENTS))?, order })
}

fn action(text: &str) -> Result<Action, String> {
    text.parse().map_err(|why| format!("has {ON_ROTATION}={text:?}: {why}"))
}

fn changes(text: Option<&String>) -> Result<Vec<Change>, String> {
    let Some(text) = text else { return Ok(Change::ALL.to_vec()) };
    let each = text.split(',').map(|word| {
        let known = Change::ALL.into_iter().find(|change| change.as_str() == word.trim());
        known.ok_or_else(|| format!("has {EVENTS}={text:?}; there are certs, tokens and ca"))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(of: &[(&str, &str)]) -> String {
        wish(&labels(of)).unwrap().unwrap_err()
    }

    #[test]
    fn strangers_labels_are_no_wish() {
        assert_eq!(wish(&labels(&[("com.docker.compose.project", "p"), ("temporal-wardens", "x")])), None);
    }

    #[test]
    fn every_action_is_read_and_the_rest_has_defaults() {
        let actions = [
            ("restart", Action::Restart),
            ("signal:SIGHUP", Action::Signal(Signal::SIGHUP)),
            ("signal:USR1", Action::Signal(Signal::SIGUSR1)),
            ("exec:nginx -s reload: now", Action::Exec("nginx -s reload: now".to_owned())),
            ("none", Action::None),
        ];
        for (text, action) in actions {
            let wish = wish(&labels(&[(ON_ROTATION, text)])).unwrap().unwrap();
            assert_eq!(wish, Wish { action, changes: Change::ALL.to_vec(), order: 50 });
        }
        let all = wish(&labels(&[(ON_ROTATION, "restart"), (EVENTS, "tokens, ca"), (ORDER, " 7 ")])).unwrap().unwrap();
        assert_eq!((all.changes, all.order), (vec![Change::Tokens, Change::Ca], 7));
    }

    #[test]
    fn what_is_misspelt_is_named() {
        assert!(refused(&[(ON_ROTATION, "reboot")]).contains("\"reboot\""));
        assert!(refused(&[(ON_ROTATION, "signal:SIGNOTHING")]).contains("no such signal"));
        assert!(refused(&[(ON_ROTATION, "exec: ")]).contains("exec:COMMAND"));
        assert!(refused(&[(ON_ROTATION, "restart"), (EVENTS, "keys")]).contains("certs, tokens and ca"));
        let first = refused(&[(ON_ROTATION, "restart"), (ORDER, "first")]);
        assert_eq!(first, "has temporal-warden.order=\"first\", which is no number");
        let misspelt = refused(&[("temporal-warden.oder", "1"), (ON_ROTATION, "restart")]);
        assert!(misspelt.starts_with("has the unknown label temporal-warden.oder; there are"), "{misspelt}");
        assert!(refused(&[(ORDER, "1")]).contains("lacks the label"));
    }
}
