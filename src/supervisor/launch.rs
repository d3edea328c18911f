//! What a process is started with, prepared while memory may still be allocated.

use std::{
    ffi::{CString, OsString},
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    sync::Arc,
};

use zeroize::{Zeroize, Zeroizing};

use super::spec::User;

/// What a new process gets, ready to be used after a fork.
pub(super) struct Launch {
    /// Paths to try in turn; the first that exists is executed.
    pub(super) programs: Vec<CString>,
    /// Its arguments, the name first.
    pub(super) argv: Vec<CString>,
    /// Its whole environment; `None` hands on ours as it is.
    pub(super) env: Option<Vec<CString>>,
    /// Working directory; `None` keeps ours.
    pub(super) cwd: Option<CString>,
    /// Exact numbers of the child's descriptors. With [`Role::Confined`] every other one is closed.
    pub(super) fds: Vec<(RawFd, Arc<OwnedFd>)>,
    /// What surrounds it.
    pub(super) role: Role,
}

/// How much of our surroundings a process keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A supervised child: no privileges, no inherited descriptors, ends when we end.
    Confined {
        /// Whom it runs as; `None` = as we do.
        user: Option<User>,
        /// Soft and hard limit of open files.
        nofile: Option<u64>,
    },
    /// Somebody's command under `run -- COMMAND`: all it inherits stays, and it becomes the terminal's foreground
    /// group.
    Guest,
}

impl Launch {
    /// Prepares `program` (looked up in `path` when it holds no slash) with its arguments and whole environment, `None`
    /// for ours.
    pub(super) fn new(
        program: PathBuf,
        args: Vec<OsString>,
        env: Option<Vec<(OsString, OsString)>>,
        path: &[u8],
        role: Role,
    ) -> io::Result<Self> {
        let program = program.into_os_string().into_vec();
        let env = env.map(|env| strings(env.into_iter().map(|(name, value)| assignment(name, value)))).transpose()?;
        let argv = std::iter::once(program.clone()).chain(args.into_iter().map(OsString::into_vec));
        Ok(Self {
            programs: strings(candidates(program, path).into_iter())?,
            argv: strings(argv)?,
            env,
            cwd: None,
            fds: Vec::new(),
            role,
        })
    }
}

/// An environment holds secrets where a child reads nothing else: no copy is left behind here.
impl Drop for Launch {
    fn drop(&mut self) {
        self.env.take().into_iter().flatten().for_each(|line| line.into_bytes().zeroize());
    }
}

/// `NAME=value`, in room for the zero byte that is still to come: growing would leave a copy.
fn assignment(name: OsString, value: OsString) -> Vec<u8> {
    let (name, value) = (name.into_vec(), Zeroizing::new(value.into_vec()));
    let mut line = Vec::with_capacity(name.len() + value.len() + 2);
    line.extend_from_slice(&name);
    line.push(b'=');
    line.extend_from_slice(&value);
    line
}

fn strings(from: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    from.map(|bytes| CString::new(bytes).map_err(io::Error::from)).collect()
}

/// The look-up of `execvp`, done before the fork because it allocates.
fn candidates(program: Vec<u8>, path: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() || program.contains(&b'/') {
        return vec![program];
    }
    let dirs = path.split(|b| *b == b':').map(|dir| if dir.is_empty() { &b"."[..] } else { dir });
    dirs.map(|dir| [dir, &program].join(&b'/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_slash_is_looked_up_in_every_folder_of_the_path() {
        assert_eq!(candidates(b"ls".to_vec(), b"/bin::/x"), [&b"/bin/ls"[..], b"./ls", b"/x/ls"]);
        assert_eq!(candidates(b"/a/ls".to_vec(), b"/bin"), [b"/a/ls"]);
    }
}
