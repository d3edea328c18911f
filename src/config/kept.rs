//! Files of the configuration, read again when it is reloaded.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

/// Files that were read, kept open: PID 1 gives up `DAC_OVERRIDE`, and what only that lets it open can still be read.
#[derive(Debug, Default)]
pub(super) struct Kept(RefCell<BTreeMap<PathBuf, File>>);

impl Kept {
    /// The text of the file at `path` as it is now.
    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        match File::open(path) {
            Ok(file) => {
                let text = whole(&file)?;
                self.0.borrow_mut().insert(path.to_owned(), file);
                Ok(text)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match self.0.borrow().get(path) {
                Some(file) => whole(file),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

fn whole(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.seek(io::SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
