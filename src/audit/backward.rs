//! Reads a file's lines from its end, in bounded memory: the newest records first.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use flate2::read::MultiGzDecoder;

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;
/// Longest line taken for a record; more is damage and is given out in pieces.
const LONGEST: usize = 1 << 20;

/// The lines of one file, the last first, without their ends; a last line without an end is one too.
#[derive(Debug)]
pub struct Backward {
    source: Source,
    /// Bytes there were when it was opened.
    length: u64,
    /// What lies before this is still to be read.
    at: u64,
    /// Read and not yet given out: the bytes from `at` on.
    rest: Vec<u8>,
    unfinished: bool,
}

#[derive(Debug)]
enum Source {
    File(File),
    /// Compressed files can't be read from the end; each is bounded by the size at which it was rotated.
    Memory(Vec<u8>),
}

impl Backward {
    /// Of `file`, open for reading; it is unpacked if `path` ends in `.gz`.
    pub fn of(path: &Path, file: File) -> io::Result<Self> {
        let (source, at) = if path.extension().is_some_and(|e| e == "gz") {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(file).read_to_end(&mut bytes)?;
            let length = bytes.len() as u64;
            (Source::Memory(bytes), length)
        } else {
            let length = file.metadata()?.len();
            (Source::File(file), length)
        };
        let mut lines = Self { source, length: at, at, rest: Vec::new(), unfinished: false };
        // The end of the last line is not the start of an empty one.
        lines.unfinished = lines.fill()? && lines.rest.pop_if(|b| *b == b'\n').is_none();
        Ok(lines)
    }

    /// Bytes there were when it was opened; what came later is not read.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the last line has no end: it may be under way.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The line before the one given out last; `None` at the start of the file.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut looked = 0;
        loop {
            let unseen = self.rest.len() - looked;
            if let Some(end) = self.rest[..unseen].iter().rposition(|b| *b == b'\n') {
                let line = self.rest.split_off(end + 1);
                self.rest.truncate(end);
                return Ok(Some(line));
            }
            let whole = self.at == 0 || self.rest.len() > LONGEST;
            if whole {
                let started = self.at == 0 && self.rest.is_empty();
                return Ok((!started).then(|| std::mem::take(&mut self.rest)));
            }
            looked = self.rest.len();
            self.fill()?;
        }
    }

    /// Puts the block before `at` in front of `rest`; false at the start of the file.
    fn fill(&mut self) -> io::Result<bool> {
        let from = self.at.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(self.at - from).unwrap_or_default()];
        match &self.source {
            Source::File(file) => file.read_exact_at(&mut block, from)?,
            Source::Memory(bytes) => {
                let start = usize::try_from(from).unwrap_or_default();
                block = bytes[start..start + block.len()].to_vec();
            }
        }
        self.at = from;
        block.append(&mut self.rest);
        self.rest = block;
        Ok(!self.rest.is_empty())
    }
}

/// A file's lines from its start; it is unpacked if `path` ends in `.gz`.
pub fn forward(path: &Path, file: File) -> Box<dyn BufRead> {
    match path.extension().is_some_and(|e| e == "gz") {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(path: &Path) -> Vec<String> {
        let mut lines = Backward::of(path, File::open(path).unwrap()).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.line().unwrap() {
            all.push(String::from_utf8(line).unwrap());
        }
        all
    }

    #[test]
    fn every_line_comes_once_and_the_last_first_over_many_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut lines: Vec<String> = (0..3000).map(|n| format!("{n}{}", "x".repeat(n % 200))).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        lines.reverse();
        assert_eq!(all(&path), lines);
        for (text, expected) in [("", vec![]), ("a", vec!["a"]), ("a\n", vec!["a"]), ("a\n\nb", vec!["b", "", "a"])] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(all(&path), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_without_line_ends_is_given_out_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "x".repeat(3 << 20)).unwrap();
        let pieces = all(&path);
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST + (BLOCK as usize) && !piece.is_empty()));
        assert_eq!(pieces.concat().len(), 3 << 20);
    }

    #[test]
    fn a_compressed_file_reads_the_same_both_ways() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.2.gz");
        let mut packed = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        packed.write_all(b"a\nb\n").unwrap();
        packed.finish().unwrap();
        assert_eq!(all(&path), ["b", "a"]);
        assert_eq!(
            forward(&path, File::open(&path).unwrap()).lines().map(Result::unwrap).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
