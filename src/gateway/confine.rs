//! The gateway shuts itself in before it starts a thread: Landlock says which files, ports and processes it may reach,
//! seccomp which system calls it may make. Both hold for every thread it starts later, and nothing takes them back.
//!
//! Being another user without capabilities comes first and holds everywhere; this is for what such a user may still do.
//! A kernel that lacks one of the two costs a line in the log, not the start.

mod calls;
mod reach;

/// One of the two: in force, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wall {
    /// In force; what it keeps out, in words.
    Stands(String),
    /// Not, or not wholly; why, and what that leaves open.
    Missing(String),
}

/// Shuts this thread and those it will start in. `ports` are all it may connect to by TCP; `None` = any.
///
/// Landlock first, for its calls are not among those that seccomp leaves.
pub fn confine(ports: Option<&[u16]>) -> [Wall; 2] {
    [reach::restrict(ports), calls::restrict()]
}
