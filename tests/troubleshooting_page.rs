//! docs/troubleshooting.md has every message of the source that a user can see.

use std::{fs, path::Path};

/// Never shown alone: parts of other messages, and what only a programming error leads to.
const INSIDE: &[&str] = &[
    "src/gateway/wire.rs",
    "src/app.rs: stopped before",
    "src/store/mod.rs: stopped before …",
    "src/telemetry.rs: the log is already set up",
];

#[test]
fn every_message_of_the_source_is_explained() {
    let page = fs::read_to_string("docs/troubleshooting.md").unwrap();
    let mut missing = Vec::new();
    let mut count = 0;
    for (file, message) in messages(Path::new("src")) {
        count += 1;
        let named = format!("{file}: {message}");
        if !page.contains(&message) && !INSIDE.iter().any(|inside| named.starts_with(inside)) {
            missing.push(named);
        }
    }
    assert!(count > 60, "{count} messages found: the reading below no longer fits the source");
    assert!(missing.is_empty(), "docs/troubleshooting.md lacks:\n{}", missing.join("\n"));
}

/// Each `#[error("…")]` and refusal below `folder`, with `…` for what is filled in.
fn messages(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(messages(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let before = if path.ends_with("tokens/refusal.rs") { "write!(f, " } else { "#[error(" };
            let literals = text.match_indices(before).filter_map(|(at, _)| literal(&text[at + before.len()..]));
            let sentences = literals.filter(|text| text.chars().filter(|c| c.is_ascii_lowercase()).count() > 2);
            found.extend(sentences.map(|text| (path.display().to_string(), text)));
        }
    }
    found
}

/// The string that `source` begins with.
fn literal(source: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = source.trim_start().strip_prefix('"')?.chars();
    let mut depth = 0_u32;
    while let Some(c) = rest.next() {
        match c {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                '\n' => rest = rest.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            '{' => {
                depth += 1;
                text.push('…');
            }
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.push(c),
            _ => {}
        }
    }
    None
}
