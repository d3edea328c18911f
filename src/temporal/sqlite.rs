//! The SQLite file of the engine: its first set-up is not transactional, a crash inside it breaks the file for good.
//!
//! A marker beside the file says that the first set-up has begun; it goes when the engine was healthy once. A file
//! with its marker at the next start was never complete, held no data, and is made again. A file without marker is kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What cannot be done, with its path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}; give the engine's user a writable WARDEN_DATA_DIR", path.display())]
pub struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What is to be done before the engine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A first set-up: leave the marker.
    Begin,
    /// The first set-up was never completed: remove the file, leave the marker.
    Rebuild,
    /// The file is complete.
    Keep,
}

/// Decides by what is there.
pub fn plan(database_exists: bool, marker_exists: bool) -> Plan {
    match (database_exists, marker_exists) {
        (false, _) => Plan::Begin,
        (true, true) => Plan::Rebuild,
        (true, false) => Plan::Keep,
    }
}

/// Before the engine starts: makes the folder and carries the plan out.
pub fn before(database: &Path) -> Result<Plan, Error> {
    let folder = database.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(error("make the folder", folder))?;
    let marker = marker(database);
    let plan = plan(exists(database)?, exists(&marker)?);
    if plan == Plan::Rebuild {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            remove(&with(database, suffix))?;
        }
    }
    if plan != Plan::Keep {
        fs::write(&marker, "first set-up began\n").map_err(error("write", &marker))?;
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(error("sync", folder))?;
    }
    Ok(plan)
}

/// After the engine was healthy: the file is complete.
pub fn after(database: &Path) -> Result<(), Error> {
    remove(&marker(database))
}

fn marker(database: &Path) -> PathBuf {
    with(database, ".first-setup")
}

fn with(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(error("look at", path))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(error("remove", path)(e)),
        _ => Ok(()),
    }
}

fn error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_setup_that_never_completed_is_made_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let db = dir.path().join("data/t.db");
        assert_eq!(before(&db).expect("fresh"), Plan::Begin);
        fs::write(&db, "half").expect("writable");
        fs::write(with(&db, "-wal"), "half").expect("writable");
        assert_eq!(before(&db).expect("crashed"), Plan::Rebuild);
        assert!(!db.exists() && !with(&db, "-wal").exists());
        fs::write(&db, "whole").expect("writable");
        after(&db).expect("healthy");
        assert_eq!(before(&db).expect("restart"), Plan::Keep);
        assert_eq!(fs::read_to_string(&db).expect("kept"), "whole");
    }
}
