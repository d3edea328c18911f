//! Appends whole lines to a file that another process appends to as well.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    os::unix::fs::FileExt,
};

/// A file open with `O_APPEND`, and whether it may end inside a line of ours.
///
/// A full disk or a kill can cut a line anywhere. What follows then begins with a line end, so that a cut line never
/// takes another one with it: the piece stays as a line that is no record, and its record is written again, whole.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    /// A file proper, which can be looked at; not a pipe or a terminal.
    is_file: bool,
    torn: bool,
    /// Its length after our last whole write: while it is the same nobody else wrote since.
    end: Option<u64>,
}

impl Lines {
    /// Goes on in `file`, whatever it ends with.
    pub(crate) fn new(file: File) -> Self {
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        Self { file, is_file, torn: false, end: None }
    }

    /// Whether it is a file proper.
    pub(crate) fn is_file(&self) -> bool {
        self.is_file
    }

    /// One `write()` of `lines`, which end in a line end each; how many bytes of them are on record as whole lines.
    /// Less than all of them is a cut: call again with the rest.
    pub(crate) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let length = self.length();
        let lead: &[u8] = if self.ends_inside_a_line(length) { b"\n" } else { b"" };
        self.end = None;
        let written = self.file.write_vectored(&[IoSlice::new(lead), IoSlice::new(lines)])?;
        self.end = length.map(|length| length + written as u64);
        let written = written.saturating_sub(lead.len());
        let whole = lines[..written].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        self.torn = whole < written;
        Ok(whole)
    }

    /// Brings it to the disk; pipes and terminals can't be synced and lose nothing by it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.file.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    /// As the file says, for the other writer or a predecessor may have been cut; where it can't be read, as we know.
    /// A line seen half-way while the other writer is at it costs an empty line, no more.
    fn ends_inside_a_line(&self, length: Option<u64>) -> bool {
        match length {
            Some(0) => false,
            Some(length) if self.end == Some(length) => self.torn,
            Some(length) => self.byte(length - 1).map_or(self.torn, |byte| byte != b'\n'),
            None => self.torn,
        }
    }

    fn length(&self) -> Option<u64> {
        self.is_file.then(|| self.file.metadata().ok().map(|found| found.len())).flatten()
    }

    fn byte(&self, at: u64) -> Option<u8> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at).ok().map(|()| byte[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(path: &std::path::Path) -> File {
        File::options().read(true).append(true).create(true).open(path).unwrap()
    }

    #[test]
    fn a_line_begins_on_a_line_of_its_own_whatever_the_file_ends_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for (before, after) in [("", "{}\n"), ("{}\n", "{}\n{}\n"), ("{}\n{\"se", "{}\n{\"se\n{}\n")] {
            std::fs::write(&path, before).unwrap();
            assert_eq!(Lines::new(append(&path)).write(b"{}\n").unwrap(), 3);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_line_of_the_other_writer_that_was_cut_since_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lines = Lines::new(append(&path));
        lines.write(b"{}\n").unwrap();
        lines.write(b"{}\n").unwrap();
        append(&path).write_all(b"{\"se").unwrap();
        lines.write(b"{}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n{}\n{\"se\n{}\n");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let file = File::options().append(true).create(true).open(&path).unwrap();
        let mut lines = Lines::new(file);
        assert_eq!(lines.write(b"{}\n").unwrap(), 3);
        lines.torn = true;
        assert_eq!(lines.write(b"{}\n").unwrap(), 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n\n{}\n");
    }
}
