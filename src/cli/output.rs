//! Standard output of the commands: whole texts, and a reader that has gone (`| head`) is nobody's failure.

use std::io::{self, Write};

/// Writes `text` as it is.
pub(super) fn print(text: &str) {
    offer(text);
}

/// Writes `text` as it is; whether somebody still reads.
pub(super) fn offer(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes `text` and a line end.
pub(super) fn print_line(text: &str) {
    print(&format!("{text}\n"));
}
