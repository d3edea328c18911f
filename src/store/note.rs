//! A small file of the warden's own beside the generations: read whole, replaced whole.

use std::path::Path;

use super::{Error, File, folder::Dir};

/// The content of `name` in `folder`; `None` when there is none, or when it is no file of ours.
pub fn read_note(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let (bytes, _) = Dir::open(folder).ok()?.read(name).ok()?;
    Some(bytes.to_vec())
}

/// Replaces `name` in `folder`, for root only: a crash leaves the old content or the new.
pub fn write_note(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let dir = Dir::open(folder)?;
    let staged = format!(".{name}.new");
    dir.remove(&staged, 0)?;
    dir.write_new(&staged, &File { bytes: bytes.to_vec().into(), mode: 0o600, gid: None })?;
    dir.rename(&staged, name)?;
    dir.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_replaced_whole_and_a_link_in_its_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_note(folder.path(), "n.json"), None);
        write_note(folder.path(), "n.json", b"one").unwrap();
        write_note(folder.path(), "n.json", b"two").unwrap();
        assert_eq!(read_note(folder.path(), "n.json").as_deref(), Some(b"two".as_slice()));
        let other = folder.path().join("other");
        std::fs::write(&other, "mine").unwrap();
        std::fs::remove_file(folder.path().join("n.json")).unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("n.json")).unwrap();
        assert_eq!(read_note(folder.path(), "n.json"), None);
        write_note(folder.path(), "n.json", b"three").unwrap();
        assert_eq!(std::fs::read(other).unwrap(), b"mine");
    }
}
