//! A set of files by relative path: what should be, and what was found.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

/// One file as it should be. It is owned by the writing user.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Content, zeroed on drop because it may be a key.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Group; `None` = the writer's own.
    pub gid: Option<u32>,
}

/// Files by path relative to the generation (`ca.crt`, `bundles/ui/temporal-client.key`).
pub type Set = BTreeMap<String, File>;

/// One file as it was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Content.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Content is what was published, as far as the manifest can tell (false as well for a file that never was).
    pub intact: bool,
}

/// What a folder holds.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The generation `..data` names.
    pub generation: Option<u64>,
    /// Its manifest is gone or damaged: what was published can't be told.
    pub unproven: bool,
    /// Every file, a regular file under a flat name before the generation's.
    pub files: BTreeMap<String, Found>,
    /// Flat names that are regular files: put there by someone, or never made links.
    pub flat: BTreeSet<String>,
    /// Flat names whose link is missing.
    pub unlinked: BTreeSet<String>,
}

/// The first component of a relative path: the flat name it is reached by.
pub(super) fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}
