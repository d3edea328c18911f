//! A record as one line of JSON that is safe on a terminal: `cat audit.jsonl` must not run what a client sent.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// `record` in one line, without its end. JSON itself escapes only what is below U+0020.
pub(crate) fn to_line(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(1024);
    record.serialize(&mut Serializer::with_formatter(&mut line, Plain))?;
    Ok(line)
}

/// Compact, with everything that moves a cursor or turns text around as `\uXXXX`.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Without a way out at the first other byte, so that sixteen are looked at in a step.
        if fragment.bytes().fold(true, |plain, byte| plain & (byte < 0x7f)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            if !is_unsafe(c) {
                write!(writer, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, line separators and what changes the direction or the visibility of text (Unicode TR 36).
pub(super) fn is_unsafe(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_act_on_a_terminal_is_escaped_and_reads_back_the_same() {
        let name = "a\u{1b}[2J\n\u{7f}\u{9b}31m\u{202e}Straße 漢\u{e0001}";
        let line = String::from_utf8(to_line(&name).unwrap()).unwrap();
        assert_eq!(line, r#""a\u001b[2J\n\u007f\u009b31m\u202eStraße 漢\udb40\udc01""#);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), name);
    }
}
