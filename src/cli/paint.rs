//! Colours for a person at a terminal: of words that stand alone, so that a text reads the same without them.

use std::io::{IsTerminal as _, stdout};

use crate::config::load;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
/// Bold, so that it is seen where red on black is hard to read.
const RED: &str = "\x1b[1;31m";
const BOLD: &str = "\x1b[1m";
const END: &str = "\x1b[0m";

/// What is well, what is to be looked at, what is wrong. A phrase comes before the words that are in it.
const WORDS: [(&str, &str); 24] = [
    ("NOT_SERVING", RED),
    ("SERVING", GREEN),
    ("NOT YET VALID", RED),
    ("EXPIRED", RED),
    ("REVOKED", RED),
    ("MISSING", RED),
    ("BROKEN", RED),
    ("NOT READ", RED),
    ("CANNOT BE WRITTEN", RED),
    ("REFUSED", RED),
    ("gave-up", RED),
    ("deny", RED),
    ("could not be published", RED),
    ("STILL HOLDS THE ONE BEFORE", YELLOW),
    ("STILL SERVES THE ONE BEFORE", YELLOW),
    ("renewal due", YELLOW),
    ("warning", YELLOW),
    ("dependents wait", YELLOW),
    ("backoff", YELLOW),
    ("starting", YELLOW),
    ("waiting", YELLOW),
    ("stopping", YELLOW),
    ("ready", GREEN),
    ("good", GREEN),
];

/// Coloured where standard output is a terminal and nobody asked for none (no-color.org).
pub(super) fn for_reader(text: &str) -> String {
    if stdout().is_terminal() && load::wants_colour() { painted(text) } else { text.to_owned() }
}

fn painted(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

/// Headings are bold; in other lines the first of the words that stands alone has its colour.
fn line(line: &str) -> String {
    let bare = line.trim_end();
    if is_heading(bare) {
        return format!("{BOLD}{bare}{END}{}", &line[bare.len()..]);
    }
    let found = WORDS.iter().find_map(|(word, colour)| alone(line, word).map(|at| (at, word.len(), colour)));
    let Some((at, length, colour)) = found else { return line.to_owned() };
    format!("{}{colour}{}{END}{}", &line[..at], &line[at..at + length], &line[at + length..])
}

/// `who holds what:`, and the head of a table.
fn is_heading(line: &str) -> bool {
    let capitals = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == '?');
    let head = line.split("  ").filter(|cell| !cell.is_empty()).count() > 2 && line.split_whitespace().all(capitals);
    head || (line.ends_with(':') && !line.starts_with(' '))
}

/// Where `word` stands between spaces, punctuation or ends of the line.
fn alone(line: &str, word: &str) -> Option<usize> {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/');
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let (before, after) = (&line[..*at], &line[at + word.len()..]);
        !before.ends_with(joins) && !after.starts_with(joins) && !after.starts_with('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_that_stands_alone_is_coloured_and_the_text_stays() {
        let text = "engine server · SERVING\n  FILE  LEFT  STATE\n  good.crt  89d 23h  good\n  a  0s  EXPIRED\nwho holds what:\n  app  STILL HOLDS THE ONE BEFORE: serial 1f\n";
        let shown = painted(text);
        for wanted in [
            "· \x1b[32mSERVING\x1b[0m\n",
            "\x1b[1m  FILE  LEFT  STATE\x1b[0m\n",
            "  good.crt  89d 23h  \x1b[32mgood\x1b[0m\n",
            "\x1b[1;31mEXPIRED\x1b[0m",
            "\x1b[1mwho holds what:\x1b[0m\n",
            "\x1b[33mSTILL HOLDS THE ONE BEFORE\x1b[0m: serial",
        ] {
            assert!(shown.contains(wanted), "{wanted:?} in {shown:?}");
        }
        let codes = [GREEN, YELLOW, RED, BOLD, END];
        assert_eq!(codes.iter().fold(shown, |text, code| text.replace(code, "")), text);
    }

    #[test]
    fn not_serving_is_red_although_serving_is_in_it() {
        assert_eq!(painted("NOT_SERVING: why\n"), "\x1b[1;31mNOT_SERVING\x1b[0m: why\n");
    }
}
