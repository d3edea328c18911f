//! Checks audit files: per writer no number is missing and each line names the hash of the one before.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use super::chain::hash;

/// Longest line taken for a record; a longer one is damage, and memory stays bounded.
const LONGEST: u64 = 1 << 20;
/// Findings that are kept; more are counted.
const KEPT: usize = 100;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The last line has no line end.
    #[error("the last line is cut off: a crash while it was written (or a write just under way)")]
    TornEnd,
    /// Longer than any record.
    #[error("not an audit record: the line does not end; the rest of this file was not read")]
    Unreadable,
    /// Numbers are left out.
    #[error("{writer}: seq {expected} is missing, this line has {found}")]
    Missing {
        /// Whose chain.
        writer: String,
        /// Next in the chain.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// A number that was there before.
    #[error("{writer}: seq {found} is out of order, {expected} comes next")]
    OutOfOrder {
        /// Whose chain.
        writer: String,
        /// Next in the chain.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// `prev` is not the hash of the writer's line before.
    #[error("{writer}: prev of seq {seq} is not the hash of the line before: this or that line ({before}) was altered")]
    Altered {
        /// Whose chain.
        writer: String,
        /// This line's number.
        seq: u64,
        /// `file:line` of the writer's line before.
        before: String,
    },
}

/// A line that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `file:line`.
    pub place: String,
    /// What is wrong there.
    pub fault: Fault,
}

/// Where a writer's chain began and stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// First number seen; above 1, earlier files were not given.
    pub first: u64,
    /// Last number seen.
    pub last: u64,
    hash: String,
    place: String,
}

/// The chains of all writers over all files given so far, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Verifier {
    writers: BTreeMap<String, Stand>,
    findings: Vec<Finding>,
    found: u64,
    torn: Vec<String>,
    /// Place of a last line without an end: all is well if a later file goes on.
    open_end: Option<String>,
}

#[derive(serde::Deserialize)]
struct Link {
    seq: u64,
    prev: String,
    writer: String,
}

impl Verifier {
    /// Reads one file, the oldest first.
    pub fn file(&mut self, name: &str, mut lines: impl BufRead) -> io::Result<()> {
        self.torn.extend(self.open_end.take());
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let place = format!("{name}:{number}");
            if line.pop_if(|b| *b == b'\n').is_some() {
                self.line(&line, place);
            } else if lines.fill_buf()?.is_empty() {
                self.last_line(&line, place);
            } else {
                // No writer makes such a line, and where it ends nobody knows.
                self.wrong(place, Fault::Unreadable);
                break;
            }
        }
        Ok(())
    }

    /// After the last file: a line that is cut off at its very end is a fault, for nothing says that its record was
    /// written again.
    pub fn finish(&mut self) {
        if let Some(place) = self.open_end.take() {
            self.wrong(place, Fault::TornEnd);
        }
    }

    /// The writers and where their chains stand.
    pub fn writers(&self) -> &BTreeMap<String, Stand> {
        &self.writers
    }

    /// What is wrong, in order; at most the first hundred.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many lines are wrong.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Places of lines that are no records though no record is missing: cut by a crash or a full disk and written
    /// again whole, or put there by somebody else.
    pub fn torn(&self) -> &[String] {
        &self.torn
    }

    fn wrong(&mut self, place: String, fault: Fault) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(Finding { place, fault });
        }
    }

    fn line(&mut self, line: &[u8], place: String) {
        match serde_json::from_slice(line) {
            Ok(link) => self.record(link, line, place),
            // An empty line is a line end put before a record in doubt.
            Err(_) if line.is_empty() => {}
            // If a record stood here, its chain says so at its next line.
            Err(_) if self.torn.len() < KEPT => self.torn.push(place),
            Err(_) => {}
        }
    }

    fn last_line(&mut self, line: &[u8], place: String) {
        match serde_json::from_slice(line) {
            Ok(link) => self.record(link, line, place),
            Err(_) => self.open_end = Some(place),
        }
    }

    /// After a fault the chain goes on from the line found, so that one fault is told once.
    fn record(&mut self, Link { seq, prev, writer }: Link, line: &[u8], place: String) {
        let before = self.writers.get(&writer);
        if let Err(fault) = follows(before, &writer, seq, &prev) {
            self.wrong(place.clone(), fault);
        }
        let before = self.writers.get(&writer);
        let first = before.map_or(seq, |b| b.first);
        self.writers.insert(writer, Stand { first, last: seq, hash: hash(line), place });
    }
}

/// Whether a line comes next after `before`.
fn follows(before: Option<&Stand>, writer: &str, seq: u64, prev: &str) -> Result<(), Fault> {
    let writer = writer.to_owned();
    let Some(before) = before else {
        // Older files may be gone; only number 1 says what must stand before it.
        let start = seq == 1 && prev.bytes().any(|b| b != b'0');
        return if start { Err(Fault::Altered { writer, seq, before: "none".to_owned() }) } else { Ok(()) };
    };
    let expected = before.last.saturating_add(1);
    match seq.cmp(&expected) {
        std::cmp::Ordering::Greater => Err(Fault::Missing { writer, expected, found: seq }),
        std::cmp::Ordering::Less => Err(Fault::OutOfOrder { writer, expected, found: seq }),
        std::cmp::Ordering::Equal if prev != before.hash => {
            Err(Fault::Altered { writer, seq, before: before.place.clone() })
        }
        std::cmp::Ordering::Equal => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Chain, *};

    fn log() -> Vec<String> {
        let (mut chain, mut lines) = (Chain::after(None), Vec::new());
        (0..4).for_each(|n| chain.append(format!(r#"{{"writer":"gateway","n":{n}}}"#).as_bytes(), &mut lines));
        String::from_utf8(lines).unwrap().lines().map(|l| format!("{l}\n")).collect()
    }

    fn found(lines: &[String]) -> Vec<(String, Fault)> {
        let mut verifier = Verifier::default();
        verifier.file("f", lines.concat().as_bytes()).unwrap();
        verifier.finish();
        verifier.findings().iter().map(|f| (f.place.clone(), f.fault.clone())).collect()
    }

    fn writer() -> String {
        "gateway".to_owned()
    }

    #[test]
    fn a_whole_log_has_no_fault_also_over_two_files_and_without_its_oldest() {
        let log = log();
        let mut verifier = Verifier::default();
        verifier.file("a", log[1..3].concat().as_bytes()).unwrap();
        verifier.file("b", log[3].trim_end().as_bytes()).unwrap();
        verifier.finish();
        assert_eq!(verifier.findings(), []);
        let stand = &verifier.writers()["gateway"];
        assert_eq!((stand.first, stand.last), (2, 4));
    }

    #[test]
    fn a_line_missing_between_two_files_is_found() {
        let log = log();
        let mut verifier = Verifier::default();
        verifier.file("a", log[..2].concat().as_bytes()).unwrap();
        verifier.file("b", log[3].as_bytes()).unwrap();
        let missing = Fault::Missing { writer: writer(), expected: 3, found: 4 };
        assert_eq!(verifier.findings(), [Finding { place: "b:1".to_owned(), fault: missing }]);
    }

    #[test]
    fn a_missing_and_a_swapped_line_are_named() {
        let mut lines = log();
        lines.remove(1);
        let missing = Fault::Missing { writer: writer(), expected: 2, found: 3 };
        assert_eq!(found(&lines), [("f:2".to_owned(), missing)]);
        let mut lines = log();
        lines[3] = lines[0].clone();
        let swapped = Fault::OutOfOrder { writer: writer(), expected: 4, found: 1 };
        assert_eq!(found(&lines), [("f:4".to_owned(), swapped)]);
    }

    #[test]
    fn an_altered_line_is_named_by_the_one_after_it_and_a_second_fault_is_told_too() {
        let mut lines = log();
        lines[0] = lines[0].replace("\"n\":0", "\"n\":7");
        lines.remove(2);
        let altered = Fault::Altered { writer: writer(), seq: 2, before: "f:1".to_owned() };
        let missing = Fault::Missing { writer: writer(), expected: 3, found: 4 };
        assert_eq!(found(&lines), [("f:2".to_owned(), altered), ("f:3".to_owned(), missing)]);
    }

    #[test]
    fn two_writers_have_two_chains_and_each_ones_gap_is_found() {
        let (mut warden, mut own) = (Chain::after(None), Vec::new());
        (0..3).for_each(|n| warden.append(format!(r#"{{"writer":"warden","n":{n}}}"#).as_bytes(), &mut own));
        let own: Vec<String> = String::from_utf8(own).unwrap().lines().map(|l| format!("{l}\n")).collect();
        let log = log();
        let mut lines =
            vec![own[0].clone(), log[0].clone(), log[1].clone(), own[1].clone(), log[2].clone(), own[2].clone()];
        assert_eq!(found(&lines), []);
        lines.remove(3);
        let missing = Fault::Missing { writer: "warden".to_owned(), expected: 2, found: 3 };
        assert_eq!(found(&lines), [("f:5".to_owned(), missing)]);
    }

    #[test]
    fn a_piece_of_a_line_is_a_fault_only_when_its_record_is_missing_or_nothing_follows() {
        let mut lines = log();
        lines[3].truncate(20);
        assert_eq!(found(&lines), [("f:4".to_owned(), Fault::TornEnd)]);
        let mut lines = log();
        let piece = lines[1][..20].to_owned() + "\n";
        lines.insert(1, piece.clone());
        lines.insert(1, "\n".to_owned());
        assert_eq!(found(&lines), [], "written again whole");
        lines.remove(3);
        let missing = Fault::Missing { writer: writer(), expected: 2, found: 3 };
        assert_eq!(found(&lines), [("f:4".to_owned(), missing)]);
    }

    #[test]
    fn a_line_without_end_is_damage_not_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let mut verifier = Verifier::default();
        verifier.file("f", endless).unwrap();
        assert_eq!(verifier.findings()[0].fault, Fault::Unreadable);
    }
}
