//! Sequence numbers and the hash chain that make a missing or altered line visible.

use std::io::{self, Write};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Backward, Series};

/// Within so many bytes of a line stands its writer.
const HEAD: usize = 512;

/// Where the chain stands: the number and the hash of the last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    seq: u64,
    hash: String,
}

impl Chain {
    /// Goes on after `last`; a new file starts with number 1 and 64 zeros.
    pub(crate) fn after(last: Option<(u64, String)>) -> Self {
        let (seq, hash) = last.unwrap_or_else(|| (0, "0".repeat(64)));
        Self { seq, hash }
    }

    /// Appends `record` (a JSON object with at least one member) to `lines` with its place in the chain.
    pub(crate) fn append(&mut self, record: &[u8], lines: &mut Vec<u8>) {
        self.seq += 1;
        let start = lines.len();
        // A vector takes whatever is written to it.
        let _ = write!(lines, "{{\"seq\":{},\"prev\":\"{}\",", self.seq, self.hash);
        lines.extend_from_slice(record.get(1..).unwrap_or_default());
        self.hash = hash(&lines[start..]);
        lines.push(b'\n');
    }
}

/// Number and hash of the last record of `writer` in `series`: what [`Chain::after`] takes, over rotated files too.
pub fn last_link(series: &Series, writer: &str) -> io::Result<Option<(u64, String)>> {
    let mark = format!("\"writer\":\"{writer}\"");
    for (path, file) in series.open_all()?.into_iter().rev() {
        let mut lines = Backward::of(&path, file)?;
        while let Some(line) = lines.line()? {
            if let Some(link) = link(&line, mark.as_bytes(), writer) {
                return Ok(Some(link));
            }
        }
    }
    Ok(None)
}

/// `mark` is looked for before anything is parsed, for the other writer may have written millions of lines since.
fn link(line: &[u8], mark: &[u8], writer: &str) -> Option<(u64, String)> {
    #[derive(serde::Deserialize)]
    struct Place {
        seq: u64,
        writer: String,
    }
    let head = &line[..line.len().min(HEAD)];
    head.windows(mark.len()).any(|w| w == mark).then_some(())?;
    let place: Place = serde_json::from_slice(line).ok()?;
    (place.writer == writer).then(|| (place.seq, hash(line)))
}

/// SHA-256 of a line without its end, lower-case hex.
pub(super) fn hash(line: &[u8]) -> String {
    hex(digest(&SHA256, line).as_ref())
}

/// Lower-case hex. By hand, for it runs at each record.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_the_hash_of_the_line_before() {
        let (mut chain, mut lines) = (Chain::after(None), Vec::new());
        chain.append(br#"{"a":1}"#, &mut lines);
        chain.append(br#"{"a":2}"#, &mut lines);
        let text = String::from_utf8(lines).unwrap();
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!(first, format!("{{\"seq\":1,\"prev\":\"{}\",\"a\":1}}", "0".repeat(64)));
        let hash = hex(digest(&SHA256, first.as_bytes()).as_ref());
        assert_eq!(second, format!("{{\"seq\":2,\"prev\":\"{hash}\",\"a\":2}}"));
    }

    #[test]
    fn the_last_link_is_the_writers_last_whole_line_in_whatever_file_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let series = Series::of(&folder.path().join("audit.jsonl"));
        let (mut chain, mut lines) = (Chain::after(None), Vec::new());
        chain.append(br#"{"writer":"gateway"}"#, &mut lines);
        let expected = Some((1, chain.hash.clone()));
        assert_eq!(last_link(&series, "gateway").unwrap(), None, "no file at all");
        std::fs::write(folder.path().join("audit.jsonl.1"), &lines).unwrap();
        std::fs::write(
            series.current(),
            "garbage\n{\"seq\":9,\"writer\":\"warden\"}\n{\"seq\":2,\"writer\":\"gateway\"",
        )
        .unwrap();
        assert_eq!(last_link(&series, "gateway").unwrap(), expected, "a torn line and another writer's do not count");
        std::fs::write(series.current(), lines.trim_ascii_end()).unwrap();
        assert_eq!(last_link(&series, "gateway").unwrap(), expected, "a line that lacks only its end is whole");
        assert_eq!(last_link(&series, "nobody").unwrap(), None);
    }

    #[test]
    fn a_chain_goes_on_where_the_file_ended() {
        let (mut chain, mut lines) = (Chain::after(Some((41, "ab".to_owned()))), Vec::new());
        chain.append(br#"{"a":1}"#, &mut lines);
        assert!(lines.starts_with(br#"{"seq":42,"prev":"ab","#));
    }
}
