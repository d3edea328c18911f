//! What came of a request, in one line for the audit log.

use std::fmt;

use super::Event;
use crate::audit::{Act, By, Journal};

/// What was made and published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    made: Vec<String>,
    generation: Option<u64>,
}

impl Summary {
    /// Takes notice of one event.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Made { name, .. } | Event::Installed { name, .. } => self.made.push(name.clone()),
            Event::Published { generation } => self.generation = Some(*generation),
            _ => {}
        }
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.generation.is_none()
    }

    /// Leaves a record of it, if there is something to tell.
    pub fn put_on_record(&self, journal: &Journal, by: By) {
        if !self.is_empty() {
            journal.note(Act::Publish, by, &self.to_string());
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            Some(generation) => write!(f, "generation {generation}: made {}", self.made.join(", ")),
            None => f.write_str("nothing to make"),
        }
    }
}
