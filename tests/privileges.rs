//! What the kernel says of each process of a running warden: users, capabilities, descriptors, environments, limits.

mod gateway;
mod warden_scene;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};
use warden_scene::{Scene, Warden};

const GATEWAY_UID: u32 = 7233;
const TEMPORAL_UID: u32 = 1000;
/// CHOWN, KILL, SETGID, SETUID.
const LIFELONG: &str = "00000000000000e1";
const NONE: &str = "0000000000000000";
const LIMIT: Duration = Duration::from_secs(30);

/// A folder in which a program stands in for Temporal; it never answers, which is all the same to its privileges.
fn scene() -> Scene {
    let mut scene = Scene::new("127.0.0.1:1");
    fs::set_permissions(scene.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = scene.folder.path().join("temporal-server");
    fs::write(&server, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    scene.set("WARDEN_ENGINE", "server");
    scene.set("WARDEN_UPSTREAM", "");
    scene.set("WARDEN_TEMPORAL_SERVER", server.to_str().unwrap());
    scene.set("DB", "sqlite");
    scene.set("SOMEBODYS_PASSWORD", "hunter2");
    scene
}

/// One process as `/proc` has it.
struct Process(PathBuf);

impl Process {
    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(self.0.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{field} in {status}")).trim().to_owned()
    }

    fn words(&self, file: &str) -> Vec<String> {
        let text = String::from_utf8(fs::read(self.0.join(file)).unwrap()).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    fn limit(&self, name: &str) -> Vec<String> {
        let limits = fs::read_to_string(self.0.join("limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    }

    fn descriptors(&self) -> Vec<(u32, String)> {
        let all = fs::read_dir(self.0.join("fd")).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all
            .filter_map(|fd| {
                let number = fd.file_name().unwrap().to_str().unwrap().parse().unwrap();
                Some((number, fs::read_link(&fd).ok()?.to_str().unwrap().to_owned()))
            })
            .collect();
        all.sort_unstable();
        all
    }

    fn threads(&self) -> Vec<Self> {
        fs::read_dir(self.0.join("task")).unwrap().map(|task| Self(task.unwrap().path())).collect()
    }

    fn is_there(&self) -> bool {
        fs::read_to_string(self.0.join("status")).is_ok_and(|status| !status.contains("State:\tZ"))
    }
}

/// The child of the warden whose arguments hold `word`.
async fn child(warden: &Warden, word: &str) -> Process {
    let children = format!("/proc/{0}/task/{0}/children", warden.pid());
    let found = async {
        loop {
            let pids = fs::read_to_string(&children).unwrap_or_default();
            let all = pids.split_whitespace().map(|pid| Process(Path::new("/proc").join(pid)));
            // Its program runs, not the copy of PID 1 that is about to become it.
            let ours =
                |p: &Process| p.0.join("cmdline").exists() && p.words("cmdline").iter().any(|w| w.ends_with(word));
            if let Some(found) = all.into_iter().find(ours) {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("no child {word}"))
}

async fn children(warden: &Warden) -> (Process, Process) {
    (child(warden, "gateway").await, child(warden, "600").await)
}

async fn says(log: &Path, what: &str) {
    let said = async {
        while !fs::read_to_string(log).unwrap().contains(what) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = timeout(LIMIT, said).await;
    assert!(heard.is_ok(), "no {what:?} in {}", fs::read_to_string(log).unwrap());
}

/// No way to any privilege, from any thread.
fn has_none(process: &Process, uid: u32) {
    for thread in process.threads() {
        for id in ["Uid", "Gid"] {
            assert_eq!(thread.status(id), vec![uid.to_string(); 4].join("\t"), "{id}");
        }
        assert_eq!(thread.status("Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(thread.status(set), NONE, "{set} of {}", thread.0.display());
        }
        assert_eq!(thread.status("NoNewPrivs"), "1");
    }
    assert_eq!(process.status("Umask"), "0027");
}

#[tokio::test]
async fn each_process_has_exactly_the_privileges_claimed() {
    let scene = scene();
    let (warden, log) = scene.warden_as(None);
    let (gateway, temporal) = children(&warden).await;
    says(&log, "seccomp: only").await;
    let pid_1 = Process(Path::new("/proc").join(warden.pid().to_string()));

    assert_eq!((pid_1.status("CapPrm"), pid_1.status("CapEff")), (LIFELONG.to_owned(), LIFELONG.to_owned()));
    for thread in pid_1.threads() {
        assert!([LIFELONG, NONE].contains(&thread.status("CapPrm").as_str()), "{}", thread.status("Name"));
        for set in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(thread.status(set), NONE, "{set}");
        }
    }
    has_none(&gateway, GATEWAY_UID);
    has_none(&temporal, TEMPORAL_UID);
    // Emptying it takes root; where it stays, no_new_privs keeps it from giving anything back.
    assert_eq!([gateway.status("CapBnd"), temporal.status("CapBnd")], [NONE, NONE]);
    for thread in gateway.threads() {
        assert_eq!((thread.status("Seccomp"), thread.status("Seccomp_filters")), ("2".to_owned(), "2".to_owned()));
    }
    // All that this machine lets us have, for each connection is a file.
    let most = pid_1.limit("Max open files").remove(1).parse::<u64>().unwrap_or(u64::MAX).min(1 << 20);
    assert_eq!(gateway.limit("Max open files"), [most.to_string(), most.to_string()]);
    for child in [&gateway, &temporal] {
        assert_eq!(child.limit("Max core file size"), ["1"; 2]);
    }
    // The kernel gives what may not be dumped to root, and with it the memory, environment and descriptors.
    let dumpable_by = |process: &Process| fs::metadata(process.0.join("environ")).unwrap().uid();
    assert_eq!((dumpable_by(&gateway), dumpable_by(&temporal)), (0, TEMPORAL_UID));
}

#[tokio::test]
async fn a_child_gets_the_descriptors_and_the_environment_it_needs_and_no_other() {
    let scene = scene();
    let (warden, log) = scene.warden_as(None);
    let (gateway, temporal) = children(&warden).await;
    says(&log, "seccomp: only").await;

    // The loader of a program that just began still has its libraries open.
    let mut held = temporal.descriptors();
    for _ in 0..200 {
        if held.len() == 3 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
        held = temporal.descriptors();
    }
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held[0].1 == "/dev/null" && held[1].1.starts_with("pipe:") && held[1].1 == held[2].1, "{held:?}");
    let audit = scene.folder.path().join("audit/audit.jsonl");
    for (number, what) in gateway.descriptors() {
        let kernels = ["socket:", "pipe:", "anon_inode:"].iter().any(|kind| what.starts_with(kind));
        assert!(kernels || what == "/dev/null" || Path::new(&what) == audit, "{number} is {what}");
    }

    assert_eq!(gateway.words("environ"), Vec::<String>::new());
    let environment = temporal.words("environ");
    let names: BTreeSet<_> = environment.iter().map(|line| line.split('=').next().unwrap()).collect();
    assert!(names.iter().all(|name| !name.starts_with("WARDEN_")), "{names:?}");
    assert!(!names.contains("SOMEBODYS_PASSWORD"), "{names:?}");
    let signing = scene.read("temporal-jwt-private.key");
    let secret = signing.lines().nth(1).unwrap();
    for process in [&gateway, &temporal] {
        for file in ["environ", "cmdline"] {
            assert!(process.words(file).iter().all(|word| !word.contains(secret)), "the signing key in {file}");
        }
        assert!(process.words("cmdline").iter().all(|word| !word.contains("PRIVATE KEY")));
    }
}

#[tokio::test]
async fn no_child_outlives_a_warden_that_is_killed() {
    let scene = scene();
    let (warden, log) = scene.warden_as(None);
    let (gateway, temporal) = children(&warden).await;
    says(&log, "seccomp: only").await;
    warden.signal(Signal::SIGKILL);
    let gone = async {
        while gateway.is_there() || temporal.is_there() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(LIMIT, gone).await.is_ok());
}

#[tokio::test]
async fn as_a_common_user_it_serves_says_what_that_costs_and_still_shuts_the_gateway_in() {
    let scene = scene();
    give(scene.folder.path(), TEMPORAL_UID);
    let (warden, log) = scene.warden_as(Some(TEMPORAL_UID));
    let (gateway, temporal) = children(&warden).await;
    says(&log, "seccomp: only").await;
    says(&log, "not root: Temporal and the gateway run as this user too").await;
    has_none(&gateway, TEMPORAL_UID);
    has_none(&temporal, TEMPORAL_UID);
    assert!(scene.done(&["status"]).contains("warning: not root"));
}

/// `chown -R`.
fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}
