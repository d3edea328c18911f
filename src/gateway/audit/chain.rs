//! Sequence numbers and the hash chain that make a missing or altered line visible.

use aws_lc_rs::digest::{SHA256, digest};

/// Where the chain stands: the number and the hash of the last line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    seq: u64,
    hash: String,
}

impl Chain {
    /// Goes on after `last`; a new file starts with number 1 and 64 zeros.
    pub(super) fn after(last: Option<(u64, String)>) -> Self {
        let (seq, hash) = last.unwrap_or_else(|| (0, "0".repeat(64)));
        Self { seq, hash }
    }

    /// Appends `record` (a JSON object with at least one member) to `lines` with its place in the chain.
    pub(super) fn append(&mut self, record: &[u8], lines: &mut Vec<u8>) {
        self.seq += 1;
        let start = lines.len();
        lines.extend_from_slice(format!("{{\"seq\":{},\"prev\":\"{}\",", self.seq, self.hash).as_bytes());
        lines.extend_from_slice(record.get(1..).unwrap_or_default());
        self.hash = hex(digest(&SHA256, &lines[start..]).as_ref());
        lines.push(b'\n');
    }
}

/// Number and hash of the gateway's last whole line in `tail`, the end of an audit file: what [`Chain::after`] takes.
pub fn last_link(tail: &[u8]) -> Option<(u64, String)> {
    #[derive(serde::Deserialize)]
    struct Place {
        seq: u64,
        writer: String,
    }
    let whole = &tail[..tail.iter().rposition(|b| *b == b'\n')?];
    whole.rsplit(|b| *b == b'\n').find_map(|line| {
        let place: Place = serde_json::from_slice(line).ok()?;
        (place.writer == "gateway").then(|| (place.seq, hex(digest(&SHA256, line).as_ref())))
    })
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
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
    fn the_last_link_is_the_gateways_last_whole_line() {
        let (mut chain, mut lines) = (Chain::after(None), Vec::new());
        chain.append(br#"{"writer":"gateway"}"#, &mut lines);
        let expected = Some((1, chain.hash.clone()));
        lines.extend_from_slice(b"{\"seq\":9,\"writer\":\"warden\"}\n{\"seq\":2,\"writer\":\"gateway\"");
        assert_eq!(last_link(&lines), expected, "a torn line and another writer's do not count");
        assert_eq!(last_link(b"garbage\n"), None);
    }

    #[test]
    fn a_chain_goes_on_where_the_file_ended() {
        let (mut chain, mut lines) = (Chain::after(Some((41, "ab".to_owned()))), Vec::new());
        chain.append(br#"{"a":1}"#, &mut lines);
        assert!(lines.starts_with(br#"{"seq":42,"prev":"ab","#));
    }
}
