//! What PID 1 may do for the rest of its life.

use caps::{CapSet, Capability, CapsHashSet};

/// Publish files for other groups, start children as other users, signal them. Nothing else.
const LIFELONG: [Capability; 4] =
    [Capability::CAP_CHOWN, Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];

/// Keeps exactly `CHOWN, SETUID, SETGID, KILL` in this thread and empties the bounding, inheritable and ambient sets,
/// which are what children would inherit. Call it on the main thread before others are started: the kernel keeps
/// capabilities per thread.
///
/// Returns what could not be done, in words for the log; a container that gave less is no error.
pub fn drop_to_lifelong_capabilities() -> Vec<String> {
    let held = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let keep: CapsHashSet = LIFELONG.into_iter().filter(|c| held.contains(c)).collect();
    let mut undone = Vec::new();
    // The bounding set first: emptying it takes SETPCAP, which goes with the rest. Without SETPCAP it stays and does no
    // harm: children have no capability and no_new_privs, so that nothing can give them one back.
    if held.contains(&Capability::CAP_SETPCAP)
        && let Err(e) = empty_bounding()
    {
        undone.push(format!("the bounding set stays as the container gave it: {e}"));
    }
    for (set, value) in [
        (CapSet::Ambient, &CapsHashSet::new()),
        (CapSet::Inheritable, &CapsHashSet::new()),
        (CapSet::Effective, &keep),
        (CapSet::Permitted, &keep),
    ] {
        if let Err(e) = caps::set(None, set, value) {
            undone.push(format!("{set:?} capabilities could not be set: {e}"));
        }
    }
    let missing: Vec<_> = LIFELONG.iter().filter(|c| !keep.contains(*c)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        let added = missing.join(", ").replace("CAP_", "");
        undone.push(format!("not given by the container: {}; add them: cap_add: [{added}]", missing.join(", ")));
    }
    undone
}

fn empty_bounding() -> Result<(), caps::errors::CapsError> {
    let all = caps::read(None, CapSet::Bounding)?;
    all.into_iter().try_for_each(|capability| caps::drop(None, CapSet::Bounding, capability))
}

/// Keys in the memory of PID 1 reach no core dump and no process of the same user.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, because capabilities belong to threads.
    #[test]
    fn exactly_the_lifelong_capabilities_stay_and_what_was_not_there_is_named() {
        let thread = std::thread::spawn(|| {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            let undone = drop_to_lifelong_capabilities();
            let after = caps::read(None, CapSet::Permitted).unwrap();
            let expected: CapsHashSet = LIFELONG.into_iter().filter(|c| before.contains(c)).collect();
            assert_eq!(after, expected);
            assert_eq!(caps::read(None, CapSet::Effective).unwrap(), expected);
            assert!(caps::read(None, CapSet::Inheritable).unwrap().is_empty());
            let all_given = LIFELONG.iter().all(|c| before.contains(c));
            assert_eq!(undone.iter().any(|line| line.starts_with("not given")), !all_given);
        });
        thread.join().unwrap();
    }
}
