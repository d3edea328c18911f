//! What is wrong with the configuration, all of it at once.

use std::fmt;

/// Every error found, in the order of `default.toml`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub(super) Vec<String>);

impl Errors {
    /// One line per error: the variable, its value and source, what is wrong and what to do.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        write!(f, "{n} configuration error{}:", if n == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Errors {}
