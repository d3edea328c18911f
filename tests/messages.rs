//! Each refusal of the source was provoked once: a test that passes quotes it.
//!
//! A refusal is a text by which a command, a start or a call fails. It counts as quoted when a test has fourteen signs of it in a row that
//! no other refusal has, or, where it has no such signs, all of it in one literal. What no test can bring about is listed below with
//! the reason.

#[path = "messages/mod.rs"]
mod source;

use std::{collections::BTreeSet, fs, path::Path};

use source::{files, literals, split};

/// What the code before a literal ends with when the literal is why something fails.
const REFUSING: &[&str] = &[
    "#[error(",
    "Err(",
    "Err(format!(",
    "ok_or(",
    "ok_or_else(||",
    "ok_or_else(||format!(",
    "map_err(|e|format!(",
    "map_err(|why|format!(",
    "map_err(|_|",
    "map_err(|_|format!(",
    "eprintln!(",
    "wrong(format!(",
    "Malformed(",
    "wanted:",
];
/// Calls whose arguments in words are a refusal: what is wrong, and what to do.
const REFUSALS: &[&str] = &["refuse(", "problem(", "broken(", "foreign(", "bad(", "refused(", "errors.push("];
/// So many signs in a row identify a text.
const WINDOW: usize = 14;

/// The beginning of a refusal, and why no test brings it about.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("WARDEN_ENGINE=external needs WARDEN_UPSTREAM=host:port", "config/check refuses it before, in its own words"),
    ("failed to make the internal certificates", "only the crypto library could fail there"),
    ("failed to make the internal signing key", "only the crypto library could fail there"),
    (
        "temporal-warden: the program's constants stay writable",
        "a system that refuses mprotect(2) starts no thread either",
    ),
    ("failed to {operation}: {detail}", "only the crypto library could fail there: names were checked before"),
    ("failed to make {path}: {reason}", "only the random generator could fail there: the rest was checked before"),
    ("the rotation broke off: {error}", "only a defect (a panic) leads there"),
    (
        "WARDEN_CA_CERT_FILE names another CA than",
        "takes an own CA that is changed together with what makes a gateway fail",
    ),
    ("failed to find a free port on 127.0.0.1", "takes a kernel without one free port"),
    ("stopped before anything was started", "never shown: a stop that was asked for is no failure"),
    ("the internal key: {e}", "what the first reading of the key takes the second takes too"),
    ("temporal-warden: failed to block signals", "pthread_sigmask fails for an unknown request only"),
    ("stopped before {0:?}", "never shown: tests/material_publish.rs stops a publication at each step by it"),
    ("the gateway, which would ask, does not run", "the moment between a start and the gateway's first report"),
    ("nothing is issued yet", "takes a Temporal that goes on refusing a new signing key for half a minute"),
    ("nothing is minted yet", "takes a Temporal that goes on refusing a new signing key for half a minute"),
    ("{} calls are open at this worker", "takes 16,000 calls at once that Temporal does not answer"),
    (
        "PostgreSQL at {server}: {doing}: {why}",
        "takes a PostgreSQL that lets the role in and breaks off in a statement",
    ),
];

struct Message {
    place: String,
    text: String,
    /// What stands in it whatever is filled in.
    fixed: Vec<String>,
}

#[test]
fn every_refusal_was_provoked_by_a_test_that_quotes_it() {
    let messages = messages();
    let quotes = quotes();
    let quoted = quotes.join("\0");
    let excuse = |message: &Message| NOT_PROVOKED.iter().position(|(text, _)| message.text.starts_with(text));
    let (mut missing, mut provoked, mut excuses) = (Vec::new(), 0, BTreeSet::new());
    for (at, message) in messages.iter().enumerate() {
        let others: String =
            messages.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, m)| m.fixed.join("\0") + "\0").collect();
        let own: Vec<_> = windows(message).into_iter().filter(|window| !others.contains(window.as_str())).collect();
        let is_quoted = own.iter().any(|window| quoted.contains(window.as_str()));
        match (is_quoted, excuse(message)) {
            (true, _) => provoked += 1,
            (false, Some(row)) => drop(excuses.insert(row)),
            (false, None) if own.is_empty() && quotes.iter().any(|quote| says(quote, &message.fixed)) => provoked += 1,
            (false, None) => missing.push(format!("{}: {}", message.place, message.text)),
        }
    }
    println!("{} refusals: {provoked} provoked, {} that no test can bring about", messages.len(), excuses.len());
    assert!(messages.len() > 200, "{} refusals found: the reading above no longer fits the source", messages.len());
    let stale: Vec<_> =
        (0..NOT_PROVOKED.len()).filter(|row| !excuses.contains(row)).map(|row| NOT_PROVOKED[row].0).collect();
    assert!(stale.is_empty(), "excused, but gone or provoked by now: {stale:#?}");
    assert!(missing.is_empty(), "{} refusals that no test quotes:\n{}", missing.len(), missing.join("\n"));
}

/// The refusals, each text once.
fn messages() -> Vec<Message> {
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for path in files(Path::new("src"), ".rs") {
        let texts = literals(&split(&path).0);
        for literal in texts.into_iter().filter(|literal| is_refusal(&path, &literal.before)) {
            let fixed = fixed(&literal.text);
            let is_sentence = fixed.iter().any(|part| part.trim().contains(' '));
            if is_sentence && known.insert(fixed.join("\0")) {
                found.push(Message { place: path.display().to_string(), text: literal.text, fixed });
            }
        }
    }
    found
}

fn is_refusal(path: &Path, before: &str) -> bool {
    let argument = REFUSALS.iter().filter_map(|call| before.rfind(call).map(|at| &before[at + call.len()..]));
    let in_call = argument.into_iter().any(|before| !before.contains([';', '{', '}']) && !before.contains(")"));
    let written = path.ends_with("tokens/refusal.rs") && before.ends_with("write!(f,");
    in_call || written || REFUSING.iter().any(|end| before.ends_with(end))
}

/// The parts of a format string between what is filled in.
fn fixed(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for c in text.replace("{{", "\u{1}").replace("}}", "\u{2}").chars() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                parts.push(String::new());
            }
            c if depth == 0 => parts.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn windows(message: &Message) -> Vec<String> {
    let mut found = Vec::new();
    for part in &message.fixed {
        let signs: Vec<char> = part.chars().collect();
        match signs.len() {
            0..5 => {}
            5..WINDOW => found.push(part.clone()),
            _ => found.extend(signs.windows(WINDOW).map(|window| window.iter().collect::<String>())),
        }
    }
    found
}

/// Whether all parts stand in it, in their order.
fn says(quote: &str, parts: &[String]) -> bool {
    let mut rest = quote;
    parts.iter().filter(|part| part.contains(char::is_alphabetic)).all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Everything that tests say: the literals of those in Rust, the files of those in Python.
fn quotes() -> Vec<String> {
    let tests = files(Path::new("tests"), ".rs").into_iter().filter(|path| !path.ends_with("tests/messages.rs"));
    let rust = tests.map(|path| fs::read_to_string(path).unwrap());
    let inner = files(Path::new("src"), ".rs").into_iter().map(|path| split(&path).1);
    let texts = rust.chain(inner).flat_map(|code| literals(&code)).map(|literal| literal.text);
    let python = files(Path::new("tests/e2e"), ".py").into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts.chain(python).collect()
}
