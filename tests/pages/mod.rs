//! The pages a user reads: their code blocks, and transcripts in them that a test produces.
//!
//! A transcript is a `console` block below a marker, `<!-- transcript: NAME -->`: its first line is the command, the
//! rest is what it printed. `UPDATE_DOCS=1` writes the block anew.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// A fenced block.
pub struct Block {
    pub page: String,
    /// The line of its opening fence, from 1.
    pub line: usize,
    pub language: String,
    /// What an HTML comment right above it says, `transcript: NAME` or `drawing`.
    pub marker: Option<String>,
    pub text: String,
}

impl Block {
    /// The name of the transcript it is.
    pub fn transcript(&self) -> Option<&str> {
        self.marker.as_deref()?.strip_prefix("transcript: ")
    }

    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, CONTRIBUTING.md, docs/*.md and the README.md of each example.
pub fn pages() -> Vec<String> {
    let below = |folder: &str| fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let found = below("docs").chain(below("examples").map(|example| example.join("README.md")));
    let found = found.filter(|path| path.is_file() && path.extension().is_some_and(|kind| kind == "md"));
    let mut pages: Vec<String> = found.map(|path| path.strip_prefix(root()).unwrap().display().to_string()).collect();
    pages.extend(["README.md".to_owned(), "CONTRIBUTING.md".to_owned()]);
    pages.sort();
    pages
}

pub fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"))
}

/// Every fenced block of a page, indented ones too.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let (mut found, mut open, mut above) = (Vec::new(), None::<(usize, Block)>, "");
    for (at, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                let marker = above.trim().strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                let (page, language) = (page.to_owned(), language.trim().to_owned());
                let marker = marker.map(str::to_owned);
                let block = Block { page, line: at + 1, language, marker, text: String::new() };
                open = Some((line.len() - bare.len(), block));
            }
            (Some(_), Some("")) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.text += line.get(*indent..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) if !bare.is_empty() => above = line,
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block has no end");
    found
}

pub fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks(page)).collect()
}

/// Checks that the block of this name shows `command` and, digit for digit, what it printed.
pub fn transcript(name: &str, command: &str, printed: &str) {
    compare(name, command, printed, str::to_owned);
}

/// The same, whatever the dates, ids, serials and spans of time are.
pub fn transcript_but_for_what_varies(name: &str, command: &str, printed: &str) {
    compare(name, command, printed, masked);
}

fn compare(name: &str, command: &str, printed: &str, seen: impl Fn(&str) -> String) {
    let trimmed: String = printed.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    let text = format!("$ {command}\n{trimmed}");
    if env::var_os("UPDATE_DOCS").is_some() {
        write(name, &text);
    }
    let block = all_blocks().into_iter().find(|block| block.transcript() == Some(name));
    let block = block.unwrap_or_else(|| panic!("no page has <!-- transcript: {name} --> above a ```console block"));
    let (shown, is) = (seen(&block.text), seen(&text));
    assert!(
        shown == is,
        "{} is stale: run this test with UPDATE_DOCS=1\n--- page\n{shown}--- now\n{is}",
        block.place()
    );
}

/// Tests of one program run side by side, and two of them may write one page.
static WRITING: Mutex<()> = Mutex::new(());

fn write(name: &str, text: &str) {
    let _one = WRITING.lock();
    let marker = format!("<!-- transcript: {name} -->\n```console\n");
    for page in pages() {
        let old = read(&page);
        if let Some((before, rest)) = old.split_once(&marker) {
            let end = rest.find("```\n").unwrap_or_else(|| panic!("{page}: the block of {name} has no end"));
            let path: PathBuf = root().join(&page);
            fs::write(path, format!("{before}{marker}{text}{}", &rest[end..])).unwrap();
        }
    }
}

/// Numbers as 0, ids as X, any run of spaces as two.
pub fn masked(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_word(c) != is_word(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        match () {
            () if is_word(first) => out += &word(piece),
            () if piece.starts_with("  ") => out += &format!("  {}", piece.trim_start()),
            () => out += piece,
        }
        rest = after;
    }
    out
}

/// A long word with a digit in it, or of the length of a thumbprint (RFC 7638), is an id.
fn word(piece: &str) -> String {
    let digit = piece.contains(|c: char| c.is_ascii_digit());
    if piece.len() == 43 || (piece.len() >= 20 && digit) {
        return "X".to_owned();
    }
    let mut out = String::new();
    for c in piece.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('0') => {}
            true => out.push('0'),
            false => out.push(c),
        }
    }
    out
}

/// The commands of a `bash` block, one string each: continued lines joined, comments left out.
pub fn commands(block: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        let bare = line.trim();
        if !goes_on && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        let said = without_comment(bare);
        let (said, continued) = said.strip_suffix('\\').map_or((said, false), |said| (said.trim_end(), true));
        match found.last_mut().filter(|_| goes_on) {
            Some(last) => *last += &format!(" {said}"),
            None => found.push(said.to_owned()),
        }
        goes_on = continued || found.last().is_some_and(|last| last.matches('\'').count() % 2 == 1);
    }
    found
}

/// A comment begins with a `#` after a space, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut starts = line.match_indices(" #").map(|(at, _)| at);
    let end = starts.find(|at| line[..*at].matches(['\'', '"']).count().is_multiple_of(2));
    end.map_or(line, |at| line[..at].trim_end())
}
