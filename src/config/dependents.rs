//! What is done to a container that holds old material: as labels and `WARDEN_DEPENDENTS` spell it.

use std::{fmt, str::FromStr};

use nix::sys::signal::Signal;

/// What is done to a dependent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `restart`.
    Restart,
    /// `signal:NAME`.
    Signal(Signal),
    /// `exec:COMMAND`, by its shell.
    Exec(String),
    /// `none`: it reads its files again by itself.
    None,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart => f.write_str("restart"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Exec(command) => write!(f, "run `{command}` in it"),
            Self::None => f.write_str("nothing"),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    /// The reason is read after the word it is about.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "restart" => Ok(Self::Restart),
            None if text == "none" => Ok(Self::None),
            Some(("signal", name)) => {
                let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
                Signal::from_str(&full).map(Self::Signal).map_err(|_| "no such signal".to_owned())
            }
            Some(("exec", command)) if !command.trim().is_empty() => Ok(Self::Exec(command.to_owned())),
            _ => Err("there are restart, signal:SIGNAL, exec:COMMAND and none".to_owned()),
        }
    }
}

/// A container told by its name alone, where nothing may be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What is done to it.
    pub action: Action,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, action) = text.split_once('=').unwrap_or((text, "restart"));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("{name:?} is no container name"));
        }
        match action.parse().map_err(|why| format!("{text:?}: {why}"))? {
            Action::Exec(_) => Err(format!("{text:?}: exec is for labels only; there are restart and signal:SIGNAL")),
            action => Ok(Self { name: name.to_owned(), action }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_restart_unless_it_says_otherwise() {
        let named = |text: &str| text.parse::<Named>().map(|named| (named.name, named.action));
        assert_eq!(named("app"), Ok(("app".to_owned(), Action::Restart)));
        assert_eq!(named("db=signal:HUP"), Ok(("db".to_owned(), Action::Signal(Signal::SIGHUP))));
        for wrong in ["", "=restart", "a/b=restart", "a=reboot", "a=signal:NOTHING", "a=exec:", "a=exec:reload"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
