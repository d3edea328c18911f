//! Checks audit files: per writer no number is missing and each line names the hash of the one before.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use aws_lc_rs::digest::{SHA256, digest};

use super::chain::hex;

/// Longest line taken for a record; a longer one is damage, and memory stays bounded.
const LONGEST: u64 = 1 << 20;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The last line has no line end.
    #[error("the last line is cut off: a crash while it was written (or a write just under way)")]
    TornEnd,
    /// Not a record.
    #[error("not an audit record: the line is torn or altered")]
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

/// The first line that is wrong.
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

/// The chains of all writers over all files given so far.
#[derive(Debug, Default)]
pub struct Verifier {
    writers: BTreeMap<String, Stand>,
}

#[derive(serde::Deserialize)]
struct Link {
    seq: u64,
    prev: String,
    writer: String,
}

impl Verifier {
    /// Reads one file, the oldest first; the first wrong line, if any.
    pub fn file(&mut self, name: &str, mut lines: impl BufRead) -> io::Result<Option<Finding>> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let place = format!("{name}:{number}");
            let checked = if line.pop_if(|b| *b == b'\n').is_some() {
                self.line(&line, &place)
            } else if lines.fill_buf()?.is_empty() {
                Err(Fault::TornEnd)
            } else {
                Err(Fault::Unreadable)
            };
            if let Err(fault) = checked {
                return Ok(Some(Finding { place, fault }));
            }
        }
        Ok(None)
    }

    /// The writers and where their chains stand.
    pub fn writers(&self) -> &BTreeMap<String, Stand> {
        &self.writers
    }

    fn line(&mut self, line: &[u8], place: &str) -> Result<(), Fault> {
        let Link { seq, prev, writer } = serde_json::from_slice(line).map_err(|_| Fault::Unreadable)?;
        let before = self.writers.get(&writer);
        follows(before, &writer, seq, &prev)?;
        let first = before.map_or(seq, |b| b.first);
        let hash = hex(digest(&SHA256, line).as_ref());
        self.writers.insert(writer, Stand { first, last: seq, hash, place: place.to_owned() });
        Ok(())
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
    use super::{super::chain::Chain, *};

    fn log() -> Vec<String> {
        let (mut chain, mut lines) = (Chain::after(None), Vec::new());
        (0..4).for_each(|n| chain.append(format!(r#"{{"writer":"gateway","n":{n}}}"#).as_bytes(), &mut lines));
        String::from_utf8(lines).unwrap().lines().map(|l| format!("{l}\n")).collect()
    }

    fn found(lines: &[String]) -> Option<(String, Fault)> {
        let finding = Verifier::default().file("f", lines.concat().as_bytes()).unwrap();
        finding.map(|f| (f.place, f.fault))
    }

    #[test]
    fn a_whole_log_has_no_fault_also_over_two_files_and_without_its_oldest() {
        let log = log();
        let mut verifier = Verifier::default();
        assert_eq!(verifier.file("a", log[1..3].concat().as_bytes()).unwrap(), None);
        assert_eq!(verifier.file("b", log[3].as_bytes()).unwrap(), None);
        let stand = &verifier.writers()["gateway"];
        assert_eq!((stand.first, stand.last), (2, 4));
    }

    #[test]
    fn a_missing_and_a_swapped_line_are_named() {
        let mut lines = log();
        lines.remove(1);
        let writer = "gateway".to_owned();
        let missing = Fault::Missing { writer: writer.clone(), expected: 2, found: 3 };
        assert_eq!(found(&lines), Some(("f:2".to_owned(), missing)));
        let mut lines = log();
        lines[2] = lines[0].clone();
        assert_eq!(found(&lines), Some(("f:3".to_owned(), Fault::OutOfOrder { writer, expected: 3, found: 1 })));
    }

    #[test]
    fn an_altered_line_is_named_by_the_one_after_it() {
        let mut lines = log();
        lines[1] = lines[1].replace("\"n\":1", "\"n\":7");
        let fault = Fault::Altered { writer: "gateway".to_owned(), seq: 3, before: "f:2".to_owned() };
        assert_eq!(found(&lines), Some(("f:3".to_owned(), fault)));
    }

    #[test]
    fn a_torn_last_line_is_told_apart_from_one_inside() {
        let mut lines = log();
        lines[3].truncate(20);
        assert_eq!(found(&lines), Some(("f:4".to_owned(), Fault::TornEnd)));
        let mut lines = log();
        lines[1] = lines[1][..20].to_owned() + "\n";
        assert_eq!(found(&lines), Some(("f:2".to_owned(), Fault::Unreadable)));
    }

    #[test]
    fn a_line_without_end_is_damage_not_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let finding = Verifier::default().file("f", endless).unwrap().unwrap();
        assert_eq!(finding.fault, Fault::Unreadable);
    }
}
