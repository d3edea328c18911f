//! The supervisor as PID 1 of a fresh PID namespace: this test binary runs itself there, one scenario at a time.
//!
//! libtest runs a scenario beside its own main thread, so signals are blocked from outside, by `env --block-signal`;
//! in the binary `main` does it.

use std::{
    env, fs,
    io::Write,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use temporal_warden::{
    config, signals,
    supervisor::{Child, ChildSpec, ChildStatus, Handle, Policy, State, Supervisor, User},
    telemetry,
};

const SCENARIO: &str = "WARDEN_TEST_SCENARIO";

/// Runs a scenario below as PID 1 and returns its exit code and everything it said.
fn as_pid_1(scenario: &str) -> (Option<i32>, String) {
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "env", "--block-signal"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "scenario", "--ignored", "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .output()
        .expect("unshare of util-linux is needed for tests of PID 1");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn limits() -> config::Supervisor {
    config::Supervisor {
        start_limit: 3,
        start_window: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(3),
        backoff_base: Duration::from_millis(50),
        backoff_cap: Duration::from_secs(1),
        probe_limit: 3,
    }
}

fn sh(name: &'static str, script: &str) -> ChildSpec {
    ChildSpec {
        name,
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        user: None,
        stdin: None,
        fds: Vec::new(),
        cwd: PathBuf::from("/"),
        nofile: Some(256),
    }
}

fn child(name: &'static str, policy: Policy, script: &'static str) -> Child {
    Child { name, policy, make: Box::new(move || Ok(sh(name, script))), ask: None }
}

async fn until(handle: &Handle, what: impl Fn(&[ChildStatus]) -> bool) -> Vec<ChildStatus> {
    let mut statuses = handle.watch();
    let seen = statuses.wait_for(|all| what(all)).await.map(|s| s.clone());
    seen.unwrap_or_default()
}

/// Not a test of its own: what the tests below run as PID 1. It leaves by the supervisor's exit code.
#[test]
#[ignore = "run by the other tests, as PID 1"]
fn scenario() {
    // libtest leaves its own line unfinished.
    println!();
    let name = env::var(SCENARIO).expect("run by the other tests");
    let signals = signals::block_all().unwrap();
    telemetry::init(&config::Log { format: config::LogFormat::Text, level: "info".into() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = tokio::task::LocalSet::new().block_on(&runtime, async {
        let (supervisor, handle) = Supervisor::new(&limits(), signals).unwrap();
        tokio::task::spawn_local(async move {
            play(&name, &handle).await;
        });
        supervisor.run(|outside| tracing::info!("outside: {outside:?}")).await.unwrap()
    });
    telemetry::flush(Duration::from_secs(1));
    let number = (0..=255).find(|n| ExitCode::from(*n) == code).unwrap_or(255);
    std::process::exit(number.into());
}

async fn play(name: &str, handle: &Handle) {
    match name {
        "give_up" => handle.supervise(child("crasher", Policy::default(), "echo dying; exit 42")),
        "order" => {
            let first = Policy { stop_rank: 0, ..Policy::default() };
            handle.supervise(child("gateway", first, "trap 'echo drained; exit 0' TERM; sleep 60 & wait"));
            handle.supervise(child(
                "engine",
                Policy::default(),
                "trap 'echo engine down; exit 1' TERM; sleep 60 & wait",
            ));
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle.stop("the test says so");
        }
        "restart" => {
            handle.supervise(child("engine", Policy::default(), "sleep 60"));
            let before = until(handle, |all| all.iter().any(|c| c.pid.is_some())).await;
            handle.ready("engine");
            until(handle, |all| all[0].state == State::Ready).await;
            let started = Instant::now();
            kill(before[0].pid.unwrap());
            let after = until(handle, |all| all[0].pid.is_some() && all[0].pid != before[0].pid).await;
            println!("back after {} us, restarts {}", started.elapsed().as_micros(), after[0].restarts);
            println!("last exit: {:?}", after[0].last_exit);
            handle.stop("seen");
        }
        "task" => {
            let done = handle.run(sh("tool", "echo one; echo two; exit 3"), Duration::from_secs(5)).await.unwrap();
            println!("task: {} {:?}", done.exit, done.tail);
            let late = handle.run(sh("slow", "echo begun; sleep 60"), Duration::from_millis(300)).await;
            println!("late: {}", late.unwrap_err());
            let missing = ChildSpec { program: "no-such-tool".into(), ..sh("missing", "") };
            println!("missing: {}", handle.run(missing, Duration::from_secs(5)).await.unwrap_err());
            handle.stop("seen");
        }
        "held" => {
            handle.supervise(child(
                "engine",
                Policy::default(),
                "setsid sh -c \"trap '' TERM; sleep 60; sleep 60\" & sleep 60",
            ));
            tokio::time::sleep(Duration::from_millis(300)).await;
            handle.stop("the daemon is deaf");
        }
        "confined" => {
            let (read, mut write) = std::io::pipe().unwrap();
            writeln!(write, "handed over").unwrap();
            drop(write);
            let script = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status; ls /proc/$$/fd; \
                          echo nofile $(ulimit -n) core $(ulimit -c) umask $(umask); cat <&5; env";
            let fds = vec![(5, Arc::new(OwnedFd::from(read)))];
            let spec = ChildSpec { user: Some(User { uid: 1000, gid: 1000 }), fds, ..sh("probe", script) };
            handle.run(spec, Duration::from_secs(5)).await.unwrap();
            handle.stop("seen");
        }
        other => panic!("no scenario {other}"),
    }
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_child_that_keeps_failing_is_given_up_with_its_own_code() {
    let (code, said) = as_pid_1("give_up");
    assert_eq!(code, Some(42), "{said}");
    assert_eq!(said.matches("[crasher] dying").count(), 3, "{said}");
}

#[test]
fn a_stop_goes_by_rank_and_is_clean_whatever_the_children_say() {
    let (code, said) = as_pid_1("order");
    assert_eq!(code, Some(0), "{said}");
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text:?} in {said}"));
    assert!(at("outside: Stopping") < at("drained") && at("drained") < at("engine down"), "{said}");
}

#[test]
fn a_child_that_had_been_healthy_is_back_at_once() {
    let (code, said) = as_pid_1("restart");
    assert_eq!(code, Some(0), "{said}");
    let micros: u64 = said.split("back after ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(micros < 30_000, "{micros} us (5 ms on an idle machine)");
    assert!(said.contains("killed by SIGKILL") && said.contains("restarts 1"), "{said}");
}

#[test]
fn a_task_has_its_exit_its_last_lines_and_a_limit() {
    let (code, said) = as_pid_1("task");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(r#"task: exit code 3 ["one", "two"]"#), "{said}");
    assert!(said.contains("slow did not finish within 300ms") && said.contains("begun"), "{said}");
    assert!(said.contains("cannot start missing"), "{said}");
}

#[test]
fn a_deaf_daemon_that_holds_the_pipe_is_killed_within_the_limit_and_the_code_stays_0() {
    let started = Instant::now();
    let (code, said) = as_pid_1("held");
    assert_eq!(code, Some(0), "{said}");
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&started.elapsed()), "{said}");
}

#[test]
fn a_confined_child_has_no_privilege_no_descriptor_and_no_variable_too_many() {
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0"), "this test needs root");
    let (code, said) = as_pid_1("confined");
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<_> = said.lines().filter_map(|l| l.strip_prefix("[probe] ")).collect();
    for expected in [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1000\t1000\t1000\t1000",
        "NoNewPrivs:\t1",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "nofile 256 core 0 umask 0027",
        "handed over",
        "PATH=/usr/bin:/bin",
    ] {
        assert!(lines.contains(&expected), "no {expected:?} in {lines:#?}");
    }
    let fds: Vec<_> = lines.iter().filter(|l| l.parse::<u32>().is_ok_and(|fd| fd != 10)).collect();
    assert_eq!(fds, [&"0", &"1", &"2", &"5"], "{lines:#?}");
    assert!(!said.contains(&format!("[probe] {SCENARIO}")), "our own environment leaked");
}
