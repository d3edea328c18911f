//! The log's files: `audit.jsonl` and, as logrotate names them, `audit.jsonl.1`, `.2` … with the highest the oldest.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    libc,
    unistd::{Gid, fchown},
};

/// Opens the file to append to, made 0640 for `group` (`None` leaves the group alone); no link is followed.
///
/// It can be read as well, so that a writer sees whether it ends inside a line.
pub fn open(path: &Path, group: Option<u32>) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    file.set_permissions(Permissions::from_mode(0o640))?;
    if let Some(group) = group {
        fchown(&file, None, Some(Gid::from_raw(group)))?;
    }
    Ok(file)
}

/// How often files that are being renamed are opened anew, and the pause between.
const TRIES: u32 = 50;
const RETRY: Duration = Duration::from_millis(10);

/// Whether each path still names its file.
fn are(paths: &[PathBuf], files: &[File]) -> io::Result<bool> {
    let id = |found: &Metadata| (found.dev(), found.ino());
    for (path, file) in paths.iter().zip(files) {
        match fs::metadata(path) {
            Ok(found) if id(&found) == id(&file.metadata()?) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The current file and its predecessors.
#[derive(Debug, Clone)]
pub struct Series {
    current: PathBuf,
}

impl Series {
    /// All files of the log whose current one is `current`.
    pub fn of(current: &Path) -> Self {
        Self { current: current.to_owned() }
    }

    /// Where lines go now.
    pub fn current(&self) -> &Path {
        &self.current
    }

    /// Every file that is there, the current one last. Names with a date (`audit.jsonl-20261125`, logrotate's
    /// `dateext`) come before numbered ones, compressed ones (`.gz`) stand where they belong.
    pub fn oldest_first(&self) -> io::Result<Vec<PathBuf>> {
        let (dated, numbered) = self.rotated()?;
        let mut files: Vec<PathBuf> = dated.into_values().chain(numbered.into_values().rev()).collect();
        if self.current.exists() {
            files.push(self.current.clone());
        }
        Ok(files)
    }

    /// All files open, as they were at one moment: a rotation meanwhile would let a reader skip one.
    pub fn open_all(&self) -> io::Result<Vec<(PathBuf, File)>> {
        for _ in 0..TRIES {
            let paths = self.oldest_first()?;
            let opened: io::Result<Vec<File>> = paths.iter().map(File::open).collect();
            match opened {
                Ok(files) if paths == self.oldest_first()? && are(&paths, &files)? => {
                    return Ok(paths.into_iter().zip(files).collect());
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // Renamed between two steps.
                _ => std::thread::sleep(RETRY),
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "its files are renamed all the time"))
    }

    /// Makes room for a new current file: each number grows by one up to the first that is free, the current file
    /// becomes number 1, numbers above `keep` are removed. A crash at any point leaves every kept file, in order.
    pub fn rotate(&self, keep: u32) -> io::Result<()> {
        let (_, mut numbered) = self.rotated()?;
        let free = (1..).find(|n| !numbered.contains_key(n)).unwrap_or(u32::MAX);
        for number in (1..free).rev() {
            let Some(from) = numbered.remove(&number) else { continue };
            let compressed = from.extension().is_some_and(|e| e == "gz");
            let to = self.number(number + 1, if compressed { ".gz" } else { "" });
            fs::rename(&from, &to)?;
            numbered.insert(number + 1, to);
        }
        fs::rename(&self.current, self.number(1, ""))?;
        numbered.insert(1, self.number(1, ""));
        for (_, old) in numbered.range(keep.saturating_add(1)..) {
            // What can't be removed now is tried again at the next rotation.
            if let Err(error) = fs::remove_file(old) {
                tracing::warn!("failed to remove {}, one file more than WARDEN_AUDIT_KEEP: {error}", old.display());
            }
        }
        self.sync_folder()
    }

    /// Brings the names to the disk.
    pub fn sync_folder(&self) -> io::Result<()> {
        File::open(self.current.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    fn number(&self, number: u32, suffix: &str) -> PathBuf {
        let mut name = self.current.clone().into_os_string();
        name.push(OsString::from(format!(".{number}{suffix}")));
        name.into()
    }

    /// By date and by number.
    fn rotated(&self) -> io::Result<(BTreeMap<String, PathBuf>, BTreeMap<u32, PathBuf>)> {
        let (mut dated, mut numbered) = (BTreeMap::new(), BTreeMap::new());
        let (Some(folder), Some(own)) = (self.current.parent(), self.current.file_name().and_then(|n| n.to_str()))
        else {
            return Ok((dated, numbered));
        };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((dated, numbered)),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|n| n.strip_prefix(own)) else { continue };
            let mark = rest.strip_suffix(".gz").unwrap_or(rest);
            if let Some(number) = mark.strip_prefix('.').and_then(|n| n.parse().ok()).filter(|n| *n > 0) {
                numbered.insert(number, entry.path());
            } else if mark.strip_prefix('-').is_some_and(|d| d.starts_with(|c: char| c.is_ascii_digit())) {
                dated.insert(mark.to_owned(), entry.path());
            }
        }
        Ok((dated, numbered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> (tempfile::TempDir, Series) {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let series = Series::of(&folder.path().join("a"));
        (folder, series)
    }

    fn names(series: &Series) -> Vec<String> {
        let files = series.oldest_first().unwrap();
        files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn files_come_oldest_first_and_foreign_names_do_not_count() {
        let (_folder, series) = folder_with(&[
            "a",
            "a.1",
            "a.2.gz",
            "a.10",
            "a-20261124",
            "a-20260101.gz",
            "a.x",
            "a.0",
            "b.1",
            "aa",
            "a-x",
        ]);
        assert_eq!(names(&series), ["a-20260101.gz", "a-20261124", "a.10", "a.2.gz", "a.1", "a"]);
    }

    #[test]
    fn a_rotation_moves_each_file_on_by_one_and_removes_what_is_too_many() {
        let (folder, series) = folder_with(&["a", "a.1", "a.2.gz", "a.3"]);
        series.rotate(3).unwrap();
        assert_eq!(names(&series), ["a.3.gz", "a.2", "a.1"]);
        for (name, content) in [("a.1", "a"), ("a.2", "a.1"), ("a.3.gz", "a.2.gz")] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), content);
        }
    }

    #[test]
    fn a_rotation_that_a_crash_cut_short_is_taken_up_without_a_loss() {
        let (folder, series) = folder_with(&["a", "a.1", "a.3", "a.4"]);
        series.rotate(10).unwrap();
        assert_eq!(names(&series), ["a.4", "a.3", "a.2", "a.1"], "the gap was filled, nothing overwritten");
        assert_eq!(fs::read_to_string(folder.path().join("a.2")).unwrap(), "a.1");
    }

    #[test]
    fn no_link_is_followed_and_only_a_file_is_a_log() {
        let (folder, series) = folder_with(&[]);
        std::os::unix::fs::symlink("/etc/passwd", series.current()).unwrap();
        assert!(open(series.current(), None).is_err());
        assert!(open(Path::new("/dev/full"), None).unwrap_err().to_string().contains("not a regular file"));
        let file = open(&folder.path().join("new"), None).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }
}
