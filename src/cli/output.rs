//! Standard output of the commands: whole texts, and a reader that has gone (`| head`) is nobody's failure.

use std::io::{self, Write};

/// Writes `text` as it is.
pub(super) fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Writes `text` and a line end.
pub(super) fn print_line(text: &str) {
    print(&format!("{text}\n"));
}
