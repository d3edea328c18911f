//! Scenarios of other inits' test suites and issue trackers, with `temporal-warden run -- COMMAND` as PID 1 of a namespace.
//! docs/init.md says which is whose, and which are not ours.

mod pid1_scene;

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pid1_scene::{Namespace, WARDEN, children, comm, state, wait_for};

/// Says each signal that it gets and ends at the last one; perl, because it can catch all of them.
const LISTENER: &str = r#"
    use POSIX ();
    $| = 1;
    for my $n (grep { !/^(9|17|19|32|33)$/ } 1 .. 64) {
        POSIX::sigaction($n, POSIX::SigAction->new(sub { print "$n\n"; exit 0 if $n == 64 }));
    }
    print "ready\n";
    POSIX::pause() while 1;
"#;

/// Not as PID 1: below this test, as sub-reaper. Cheaper where many runs are needed.
fn as_sub_reaper(script: &str) -> Output {
    Command::new(WARDEN).args(["run", "--", "sh", "-c", script]).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn every_exit_code_from_0_to_255_is_passed_on() {
    let each =
        format!("for i in $(seq 0 255); do {WARDEN} run -- sh -c \"exit $i\" 2>&-; [ $? = $i ] || echo $i; done");
    assert_eq!(lines(&as_sub_reaper(&each)), Vec::<String>::new());
}

#[test]
fn a_command_that_dies_of_the_signal_that_pid_1_got_is_128_and_its_number() {
    for (signal, code) in
        [(Signal::SIGTERM, 143), (Signal::SIGUSR1, 138), (Signal::SIGUSR2, 140), (Signal::SIGQUIT, 131)]
    {
        let init = Namespace::run(&["sleep", "100"]).until_runs("sleep");
        init.signal(signal);
        assert_eq!(init.code(), Some(code));
    }
}

#[test]
fn help_is_0_and_wrong_usage_is_2() {
    let code = |args: &[&str]| Command::new(WARDEN).args(args).output().unwrap().status.code();
    assert_eq!(code(&["run", "--help"]), Some(0));
    assert_eq!(code(&["run", "--"]), Some(2));
    assert_eq!(code(&["run", "--no-such-option"]), Some(2));
}

#[test]
fn each_signal_that_can_be_caught_arrives_once_and_in_order_the_real_time_ones_too() {
    let init = Namespace::run(&["perl", "-e", LISTENER]);
    init.until_says("ready");
    // KILL and STOP cannot be passed on, CHLD is PID 1's own; 32 and 33 are the C library's of the listener.
    let sent: Vec<i32> = (1..=64).filter(|n| ![9, 17, 19, 32, 33].contains(n)).collect();
    for number in &sent {
        init.signal_number(*number);
        wait_for(&format!("signal {number} arrives"), || heard(&init.said()).contains(number).then_some(()));
    }
    let (status, said) = init.end();
    assert_eq!(status.code(), Some(0));
    // A stop comes with a SIGCONT, for whoever is stopped.
    let all_but_cont = |heard: Vec<i32>| heard.into_iter().filter(|n| *n != 18).collect::<Vec<_>>();
    assert_eq!(all_but_cont(heard(&said)), all_but_cont(sent));
}

fn heard(said: &str) -> Vec<i32> {
    said.lines().filter_map(|l| l.parse().ok()).collect()
}

#[test]
fn a_grandchild_hears_what_the_command_ignores_and_the_end_follows() {
    let init = Namespace::sh("trap '' USR1; (trap - USR1; exec perl -e '$SIG{USR1}=\"DEFAULT\"; sleep 100'); exit 7")
        .until_runs("perl");
    // Ignored signals stay so over an exec, so the grandchild takes its default back before it counts.
    let grandchild = init.find("perl").unwrap();
    wait_for("it has its default back", || (!ignores(grandchild, Signal::SIGUSR1)).then_some(()));
    init.signal(Signal::SIGUSR1);
    assert_eq!(init.code(), Some(7));
}

fn ignores(pid: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).and_then(|m| u64::from_str_radix(m, 16).ok());
    mask.is_none_or(|m| m & (1 << (signal as u64 - 1)) != 0)
}

#[test]
fn what_its_own_parent_ignores_or_blocks_does_not_reach_the_command() {
    let around = ["env", "--ignore-signal=INT,SEGV,TTOU,PIPE", "--block-signal=TERM,ILL,TTIN"];
    let (_, said) = Namespace::below(&around, &["grep", "^Sig[BI]", "/proc/self/status"]).end();
    assert_eq!(said, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn one_hundred_orphans_of_a_sub_reaper_end_as_its_children_and_none_stays_a_zombie() {
    let mut warden = Command::new(WARDEN)
        .args(["run", "--", "sh", "-c", "for i in $(seq 100); do (sleep 100 &); done; exec tail -f /dev/null"])
        .spawn()
        .unwrap();
    // Adopted as the shell it was forked from, some time before it is `sleep`.
    let orphans = wait_for("all were adopted", || {
        let all: Vec<_> = children(warden.id()).into_iter().filter(|p| comm(*p).as_deref() == Some("sleep")).collect();
        (all.len() == 100).then_some(all)
    });
    orphans.into_iter().for_each(|p| kill(Pid::from_raw(p), Signal::SIGKILL).unwrap());
    wait_for("all were reaped", || (children(warden.id()).len() == 1).then_some(()));
    kill(Pid::from_raw(warden.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(warden.wait().unwrap().code(), Some(143));
}

#[test]
fn a_zombie_whose_parent_lives_is_the_parents_and_gone_once_that_ends() {
    let init = Namespace::run(&["perl", "-e", "if (!fork) { if (!fork) { exit } sleep 1; exit } sleep 100"]);
    let zombie = wait_for("there is a zombie", || {
        let all = pid1_scene::descendants(init.init.as_raw());
        all.into_iter().map(Pid::from_raw).find(|p| state(*p) == Some('Z'))
    });
    wait_for("it is gone", || state(zombie).is_none().then_some(()));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}

/// catatonit #4 and #5: signals coalesce, so the end of an orphan may hide that of the command.
#[test]
fn a_command_and_an_orphan_that_end_at_one_instant_never_hang_the_init() {
    let each =
        format!("for i in $(seq 300); do {WARDEN} run -- sh -c 'exit 9 & exit 3' 2>&-; [ $? = 3 ] || echo $i; done");
    assert_eq!(lines(&as_sub_reaper(&each)), Vec::<String>::new());
    for _ in 0..20 {
        assert_eq!(Namespace::sh("exit 9 & exit 127").code(), Some(127));
    }
}

#[test]
fn a_signal_does_not_wait_for_thousands_of_orphans_and_none_of_them_stays() {
    let script = "my @p = map { my $p = fork; if (!$p) { sleep 100 } $p } 1 .. 2000; exit";
    let command =
        format!("perl -e '{script}'; trap 'echo heard; exit 5' USR1; echo made; while :; do sleep 0.01; done");
    let init = Namespace::sh(&command);
    wait_for("all were adopted", || (children(init.init.as_raw().unsigned_abs()).len() > 2000).then_some(()));
    // Only the orphans: the command's own children have it as their parent.
    let orphans = children(init.init.as_raw().unsigned_abs());
    let orphans = orphans.into_iter().filter(|p| comm(*p).as_deref() == Some("perl"));
    orphans.for_each(|p| kill(Pid::from_raw(p), Signal::SIGKILL).unwrap());
    init.signal(Signal::SIGUSR1);
    wait_for("none is left", || (children(init.init.as_raw().unsigned_abs()).len() <= 1).then_some(()));
    let (status, said) = init.end();
    assert_eq!(status.code(), Some(5));
    assert!(said.contains("heard"), "{said}");
}

#[test]
fn a_background_process_of_the_commands_group_is_asked_and_waited_for() {
    let (status, said) =
        Namespace::sh("sh -c 'trap \"sleep 0.3; echo 15; exit\" TERM; sleep 100 & wait' & sleep 1; exit 4").end();
    assert_eq!((status.code(), said.trim()), (Some(4), "15"));
}

#[test]
fn a_stop_leaves_nobody_of_a_pipeline_and_its_shell() {
    let init = Namespace::sh("sleep 100 | sleep 100 | sleep 100 | sleep 100; exit 1").until_run(4, "sleep");
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn a_stopped_command_hears_an_interrupt_too() {
    let init = Namespace::run(&["sleep", "100"]).until_runs("sleep");
    let child = init.find("sleep").unwrap();
    kill(child, Signal::SIGSTOP).unwrap();
    wait_for("it is stopped", || (state(child) == Some('T')).then_some(()));
    init.signal(Signal::SIGINT);
    assert_eq!(init.code(), Some(130));
}

#[test]
fn job_control_stops_and_continues_the_command_but_never_pid_1() {
    for stop in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
        let init = Namespace::run(&["sleep", "100"]).until_runs("sleep");
        let child = init.find("sleep").unwrap();
        init.signal(stop);
        wait_for("the command stops", || (state(child) == Some('T')).then_some(()));
        assert_ne!(state(init.init), Some('T'));
        init.signal(Signal::SIGCONT);
        wait_for("it goes on", || (state(child) == Some('S')).then_some(()));
        init.signal(Signal::SIGTERM);
        assert_eq!(init.code(), Some(143));
    }
}

#[test]
fn below_another_init_the_warden_stops_with_its_command_and_goes_on_with_it() {
    for stop in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGSTOP] {
        let mut warden = Command::new(WARDEN).args(["run", "--", "sleep", "100"]).spawn().unwrap();
        let own = Pid::from_raw(warden.id().cast_signed());
        let find = || children(warden.id()).into_iter().find(|p| comm(*p).as_deref() == Some("sleep"));
        let child = Pid::from_raw(wait_for("the command runs", find));
        // A stop that cannot be passed on reaches the command from elsewhere, as ^Z on a terminal does.
        kill(if stop == Signal::SIGSTOP { child } else { own }, stop).unwrap();
        wait_for("both stop", || (state(own) == Some('T') && state(child) == Some('T')).then_some(()));
        kill(own, Signal::SIGCONT).unwrap();
        wait_for("both go on", || (state(own) == Some('S') && state(child) == Some('S')).then_some(()));
        kill(own, Signal::SIGTERM).unwrap();
        assert_eq!(warden.wait().unwrap().code(), Some(143));
    }
}

#[test]
fn the_init_leaves_the_folder_it_was_started_in_and_the_command_stays_there() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let init = Namespace::below(&["env", "--chdir", place], &["sleep", "100"]).until_runs("sleep");
    let cwd = |pid: Pid| fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    wait_for("the init has left", || (cwd(init.init) == *"/").then_some(()));
    assert_eq!(cwd(init.find("sleep").unwrap()), dir.path());
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn inherited_descriptors_reach_the_command_and_are_closed_in_the_init() {
    let around = ["sh", "-c", "exec 7</etc/passwd; exec \"$@\"", "sh"];
    let init = Namespace::below(&around, &["sleep", "100"]).until_runs("sleep");
    let has = |pid: Pid| fs::read_link(format!("/proc/{pid}/fd/7")).is_ok();
    assert!(has(init.find("sleep").unwrap()));
    wait_for("the init has closed it", || (!has(init.init)).then_some(()));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn a_script_without_an_interpreter_line_is_the_shells_as_under_tini() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("entrypoint");
    fs::write(&script, "echo $0 $1\nexit 6\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let path = script.to_str().unwrap();
    let (status, said) = Namespace::run(&[path, "word"]).end();
    assert_eq!((status.code(), said.trim()), (Some(6), format!("{path} word").as_str()));
}

#[test]
fn a_full_pipe_on_standard_error_holds_nothing_up() {
    let (_reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    let started = Instant::now();
    // Below another init it has something to say.
    let mut warden = Command::new(WARDEN).args(["run", "--", "sh", "-c", "exit 3"]).stderr(writer).spawn().unwrap();
    let status = wait_for("it ends", || warden.try_wait().unwrap());
    assert_eq!(status.code(), Some(3));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_read_only_file_system_and_another_user_are_no_hindrance() {
    let around = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -o remount,bind,ro / 2>/dev/null; exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"",
        "sh",
    ];
    let words = [&around[..], &[WARDEN, "run", "--", "sh", "-c", "id -u; exit 8"]].concat();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert_eq!((output.status.code(), lines(&output)), (Some(8), vec!["1000".to_owned()]));
}

/// Before `main` signals are blocked in every PID 1, because it might be an init.
#[test]
fn a_pid_1_that_is_no_init_blocks_no_signal() {
    let mut unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", WARDEN, "status", "--watch"])
        .envs([("WARDEN_ENGINE", "external"), ("WARDEN_UPSTREAM", "127.0.0.1:1")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has something to say only after that.
    let mut chunk = [0; 1];
    unshare.stdout.as_mut().unwrap().read_exact(&mut chunk).unwrap();
    let warden = children(unshare.id())[0];
    let status = fs::read_to_string(format!("/proc/{warden}/status")).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    kill(Pid::from_raw(warden), Signal::SIGKILL).unwrap();
    unshare.wait().unwrap();
}
