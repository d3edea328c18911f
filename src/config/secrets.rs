//! Secrets that a setting holds or names a file of.

use std::{io, path::Path};

use zeroize::Zeroizing;

use super::raw::{Raw, Setting};
use crate::secret::Secret;

/// What to say of a file that a setting names and that can't be read.
pub(super) fn unreadable(setting: &Setting, error: &io::Error) -> String {
    format!("{}: cannot be read: {error}; give a file the warden can read", setting.shown())
}

/// PostgreSQL's password, given or in a file.
pub(super) fn password(
    raw: &Raw,
    read: &impl Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<String>,
) -> Option<Secret<String>> {
    let (direct, file) = (&raw.temporal.postgres_pwd, &raw.temporal.postgres_pwd_file);
    match (direct.given(), file.given()) {
        (Some(_), Some(_)) => {
            errors.push(format!("{} and {} are both set; keep one of them", direct.name, file.shown()));
            None
        }
        (Some(password), None) => Some(Secret::new(password.to_owned())),
        (None, Some(_)) => secret_file(file, "password", read, errors),
        (None, None) => None,
    }
}

/// The first line of a file that holds a secret, where a setting names one.
pub(super) fn secret_file(
    setting: &Setting,
    what: &str,
    read: &impl Fn(&Path) -> io::Result<String>,
    errors: &mut Vec<String>,
) -> Option<Secret<String>> {
    let mut refuse = |why: String| {
        errors.push(why);
        None
    };
    match read(Path::new(setting.given()?)).map(Zeroizing::new) {
        Err(e) => refuse(unreadable(setting, &e)),
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => refuse(format!("{}: the file is empty; write the {what} into it", setting.shown())),
            secret => Some(Secret::new(secret.to_owned())),
        },
    }
}
