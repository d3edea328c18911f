//! The texts of the source and of its tests: string literals with what stands before each.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A string literal.
pub struct Literal {
    /// The code before it, without white space.
    pub before: String,
    /// What it says.
    pub text: String,
}

/// All files below `folder` whose name ends in `ending`.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A source file in two: what ships, and its tests.
pub fn split(path: &Path) -> (String, String) {
    let text = fs::read_to_string(path).unwrap();
    if path.ends_with("tests.rs") || path.to_string_lossy().ends_with("_tests.rs") {
        return (String::new(), text);
    }
    let at = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    (text[..at].to_owned(), text[at..].to_owned())
}

/// How much of the code before a literal is kept.
const BEFORE: usize = 80;

/// Every string literal of Rust code, comments left out.
pub fn literals(code: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let (skip, text) = token(rest, c, before.chars().next_back());
        match text {
            Some(text) => {
                let from = before.char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
                found.push(Literal { before: before[from..].to_owned(), text });
                before.push('"');
            }
            None if skip == c.len_utf8() && !c.is_whitespace() => before.push(c),
            None => {}
        }
        rest = &rest[skip..];
    }
    found
}

/// The length of the token that `rest` begins with, and its text when it is a string.
fn token(rest: &str, c: char, previous: Option<char>) -> (usize, Option<String>) {
    let to_line_end = || rest.find('\n').unwrap_or(rest.len());
    match c {
        '/' if rest.starts_with("//") => (to_line_end(), None),
        '"' => plain(rest),
        'r' if !previous.is_some_and(|p| p.is_alphanumeric() || p == '_') => raw(rest).unwrap_or((1, None)),
        '\'' => (character(rest), None),
        c => (c.len_utf8(), None),
    }
}

fn plain(rest: &str) -> (usize, Option<String>) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (at + 1, Some(text)),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('\n') => {
                    let after = rest[at + 2..].trim_start();
                    let skipped = rest.len() - after.len() - at - 2;
                    chars.by_ref().take(skipped).for_each(drop);
                }
                Some(escaped) => text.push(escaped),
                None => break,
            },
            c => text.push(c),
        }
    }
    (rest.len(), Some(text))
}

/// `r"…"` and `r#"…"#`.
fn raw(rest: &str) -> Option<(usize, Option<String>)> {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    let inner = rest[1 + hashes..].strip_prefix('"')?;
    let end = inner.find(&format!("\"{}", "#".repeat(hashes)))?;
    Some((1 + hashes + 1 + end + 1 + hashes, Some(inner[..end].to_owned())))
}

/// `'x'`, `'\n'`; a lifetime is one sign long.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => rest[3..].find('\'').map_or(1, |end| end + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
