//! `temporal-warden run -- COMMAND` as PID 1 of a fresh PID namespace: what tini's users rely on, and what they miss.

mod pid1_scene;

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};
use pid1_scene::{LIMIT, Namespace, WARDEN, state, wait_for};

#[test]
fn the_exit_code_is_the_commands_own() {
    for code in [0, 1, 2, 127, 255] {
        assert_eq!(Namespace::sh(&format!("exit {code}")).code(), Some(code));
    }
}

#[test]
fn a_death_by_signal_is_128_and_its_number() {
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("HUP", 1), ("40", 40)] {
        assert_eq!(Namespace::sh(&format!("kill -{name} $$")).code(), Some(128 + number), "{name}");
    }
}

#[test]
fn a_missing_command_is_127_and_an_unexecutable_one_126() {
    let (missing, said) = Namespace::run(&["no-such-command"]).end();
    assert_eq!(missing.code(), Some(127));
    assert!(said.contains("no-such-command"), "{said}");
    assert_eq!(Namespace::run(&["/etc/passwd"]).code(), Some(126));
}

#[test]
fn a_signal_reaches_the_command_once() {
    let script = "n=0; trap 'n=$((n+1)); echo usr1 $n' USR1; trap 'echo term; exit 7' TERM; \
                  while :; do sleep 100 & wait $!; done";
    let init = Namespace::sh(script).until_runs("sleep");
    init.signal(Signal::SIGUSR1);
    thread::sleep(Duration::from_millis(300));
    init.signal(Signal::SIGTERM);
    let (status, said) = init.end();
    assert_eq!(status.code(), Some(7));
    // The background sleeps are in the command's group and die of it; what the command itself saw is the claim.
    let seen: Vec<_> = said.lines().filter(|l| l.starts_with("usr1") || *l == "term").collect();
    assert_eq!(seen, ["usr1 1", "term"], "{said}");
}

#[test]
fn a_signal_reaches_the_whole_group_of_the_command() {
    let init = Namespace::sh("trap 'wait; exit 3' TERM; sleep 100 & sleep 100 & wait").until_run(2, "sleep");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(3));
}

#[test]
fn hundreds_of_orphans_are_reaped_while_the_command_lives() {
    let script = "for i in $(seq 300); do (sleep 0.2 &) ; done; sleep 1; ls -d /proc/[0-9]* | wc -l";
    let (status, said) = Namespace::sh(script).end();
    assert_eq!(status.code(), Some(0));
    let left: u32 = said.trim().parse().unwrap();
    assert!(left <= 6, "{left} processes, zombies included, are left");
}

#[test]
fn a_stopped_command_does_not_hang_the_stop() {
    let init = Namespace::run(&["sleep", "100"]).until_runs("sleep");
    let child = init.find("sleep").unwrap();
    kill(child, Signal::SIGSTOP).unwrap();
    wait_for("it is stopped", || (state(child) == Some('T')).then_some(()));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn a_daemon_in_its_own_session_is_asked_and_waited_for_and_the_commands_code_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("asked");
    let daemon = format!("trap 'sleep 0.3; echo asked > {}; exit 0' TERM; echo up; sleep 100 & wait", mark.display());
    let script = format!("setsid sh -c \"{daemon}\" & sleep 0.5; exit 9");
    assert_eq!(Namespace::sh(&script).code(), Some(9));
    assert_eq!(fs::read_to_string(mark).unwrap().trim(), "asked");
}

#[test]
fn a_deaf_daemon_is_killed_within_the_limit_and_the_commands_code_kept() {
    let started = Instant::now();
    let init = Namespace::sh("setsid sh -c \"trap '' TERM; while :; do sleep 1; done\" & sleep 0.3; exit 9");
    assert_eq!(init.code(), Some(9));
    assert!((Duration::from_secs(5)..Duration::from_secs(9)).contains(&started.elapsed()));
}

#[test]
fn a_second_term_kills_a_deaf_daemon_at_once() {
    let started = Instant::now();
    let init = Namespace::sh("setsid sh -c \"trap '' TERM; while :; do sleep 1; done\" & sleep 0.3; exit 9");
    thread::sleep(Duration::from_millis(800));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(9));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_grandchild_that_holds_stdout_does_not_hold_the_stop() {
    let started = Instant::now();
    let init = Namespace::sh("setsid sleep 100 & exit 4");
    assert_eq!(init.code(), Some(4));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_command_starts_with_a_clean_mask_and_default_dispositions() {
    // PID 1's Rust runtime ignores SIGPIPE, and the test's own parent may ignore others.
    let (_, said) = Namespace::run(&["grep", "^Sig", "/proc/self/status"]).end();
    let field = |name: &str| said.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("SigBlk:"), "0000000000000000");
    assert_eq!(field("SigIgn:"), "0000000000000000");
}

#[test]
fn the_command_gets_no_descriptor_of_the_wardens() {
    // What was inherited reaches it, as under tini; what the warden opened does not.
    let (_, said) = Namespace::sh("ls -l /proc/$$/fd | grep -cE 'signalfd|eventpoll|eventfd'").end();
    assert_eq!(said.trim(), "0");
}

/// Before its first function nobody can help: the kernel drops a signal for a PID 1 that neither handles nor blocks it.
#[test]
fn a_term_is_never_lost_once_it_is_blocked() {
    let warden = Path::new(WARDEN).canonicalize().unwrap();
    for attempt in 0..100 {
        let init = Namespace::run(&["sleep", "100"]);
        let (exe, status) = (format!("/proc/{}/exe", init.init), format!("/proc/{}/status", init.init));
        // unshare blocks it too, for a moment before it becomes the warden.
        wait_for_busy(|| fs::read_link(&exe).is_ok_and(|e| e == warden));
        wait_for_busy(|| blocks_term(&fs::read_to_string(&status).unwrap_or_default()));
        init.signal(Signal::SIGTERM);
        assert_eq!(init.code(), Some(143), "attempt {attempt}");
    }
}

fn blocks_term(status: &str) -> bool {
    let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:\t"));
    mask.and_then(|m| u64::from_str_radix(m, 16).ok()).is_some_and(|m| m & (1 << (Signal::SIGTERM as u64 - 1)) != 0)
}

fn wait_for_busy(mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !ask() {
        assert!(Instant::now() < end, "the warden never started");
    }
}

#[test]
fn as_no_pid_1_it_warns_and_adopts_orphans_all_the_same() {
    let output = Command::new(WARDEN)
        .args(["run", "--", "sh", "-c", "(setsid sleep 100 &); sleep 0.2; exit 6"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not PID 1"));
}

#[test]
fn an_idle_init_never_wakes_up() {
    let init = Namespace::run(&["sleep", "100"]).until_runs("sleep");
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", init.init)).unwrap();
        status.lines().filter(|l| l.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    thread::sleep(Duration::from_millis(300));
    let before = switches();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(before, switches());
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}
