//! What a command waits for, as one line on a terminal; a file or a pipe gets nothing of it.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::Duration,
};

use tokio::time::Instant;

use crate::{admin::Request, rotation, telemetry::ERASE};

/// What is answered sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at the clock.
pub(super) const TICK: Duration = Duration::from_millis(500);
/// Most characters of it: what is longer would not be taken away whole.
const WIDTH: usize = 76;

/// The line.
#[derive(Debug)]
pub(super) struct Waiting {
    about: String,
    since: Instant,
    on_terminal: bool,
    drawn: bool,
}

impl Waiting {
    pub(super) fn for_answer(request: &Request) -> Self {
        let on_terminal = stderr().is_terminal();
        Self { about: about(request).to_owned(), since: Instant::now(), on_terminal, drawn: false }
    }

    /// Draws it anew.
    pub(super) fn tick(&mut self) {
        let waited = self.since.elapsed();
        if self.on_terminal && waited >= PATIENCE {
            self.erase();
            let _ = write!(stderr(), "{}", line(&self.about, waited)).and_then(|()| stderr().flush());
            self.drawn = true;
        }
    }

    /// The running warden said something, which is printed next; perhaps what it waits for from now on.
    pub(super) fn heard(&mut self, said: &str) {
        self.erase();
        if said.contains("waiting") {
            said.clone_into(&mut self.about);
            self.since = Instant::now();
        }
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(stderr(), "{ERASE}").and_then(|()| stderr().flush());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.erase();
    }
}

fn line(about: &str, waited: Duration) -> String {
    let about: String = about.chars().take(WIDTH).collect();
    format!("… {about}, {} s", waited.as_secs())
}

fn about(request: &Request) -> &'static str {
    match request {
        Request::TellDependents => "telling dependents, one after the other",
        Request::Make { request: rotation::Request::RotateKey } => "changing the signing key",
        Request::Make { .. } => "making certificates, keys or tokens",
        Request::Mint { .. } => "minting",
        Request::Reload => "bringing the configuration into force",
        _ => "waiting for the running warden",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_and_how_long_and_is_never_longer_than_a_terminal() {
        assert_eq!(line("minting", Duration::from_millis(7400)), "… minting, 7 s");
        assert!(line(&"é".repeat(300), Duration::from_secs(12)).chars().count() <= 85);
    }
}
