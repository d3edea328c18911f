//! "Everything that is left": every process but ourselves, also daemons in sessions of their own.

use std::{collections::HashMap, fs};

use nix::{libc, unistd};

use super::{process::send, reaper::Adoption};

/// Asks every process that is left to end; SIGCONT, because a stopped one can't hear it.
pub(super) fn terminate(adoption: Adoption) {
    signal(adoption, libc::SIGTERM);
    signal(adoption, libc::SIGCONT);
}

/// Kills every process that is left.
pub(super) fn kill(adoption: Adoption) {
    signal(adoption, libc::SIGKILL);
}

/// PID 1 reaches its whole namespace at once; anybody else may only touch what descends from it.
fn signal(adoption: Adoption, number: i32) {
    match adoption {
        Adoption::Init => send(-1, number),
        _ => descendants(unistd::getpid().as_raw(), &parents()).into_iter().for_each(|pid| send(pid, number)),
    }
}

/// pid → parent, of all processes that `/proc` shows.
fn parents() -> HashMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// The second field after the name, which may itself hold blanks and brackets.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn descendants(root: i32, parents: &HashMap<i32, i32>) -> Vec<i32> {
    let descends = |pid: i32| {
        let line = std::iter::successors(parents.get(&pid), |p| parents.get(p));
        line.take(parents.len()).any(|p| *p == root)
    };
    parents.keys().copied().filter(|pid| descends(*pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_hide_the_parent() {
        assert_eq!(parent("7 (a) b (c)) S 3 7 7 0"), Some(3));
        assert_eq!(parent("garbage"), None);
    }

    #[test]
    fn only_descendants_are_found_and_a_torn_snapshot_ends() {
        let parents = HashMap::from([(1, 0), (5, 1), (6, 5), (7, 1), (8, 9), (9, 8)]);
        assert_eq!(descendants(5, &parents), [6]);
        let mut of_one = descendants(1, &parents);
        of_one.sort_unstable();
        assert_eq!(of_one, [5, 6, 7]);
    }
}
