//! The supervisor as PID 1 of a fresh PID namespace: this test binary runs itself there, one scenario at a time.
//!
//! libtest runs a scenario beside its own main thread, so signals are blocked from outside, by `env --block-signal`;
//! in the binary `main` does it.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use temporal_warden::{
    config, signals,
    supervisor::{Child, ChildSpec, ChildStatus, Handle, Policy, State, Supervisor, User},
    telemetry,
};

const SCENARIO: &str = "WARDEN_TEST_SCENARIO";
/// How many crashes the soak lasts.
const CRASHES: &str = "WARDEN_TEST_CRASHES";
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// This test binary as the scenario `name`, below a program around it.
fn playing(name: &str, around: &[&str]) -> Command {
    let words = [around, &["env", "--block-signal"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(env::current_exe().unwrap());
    command.args(["--exact", "scenario", "--ignored", "--nocapture", "--test-threads=1"]).env(SCENARIO, name);
    command
}

/// Runs a scenario below as PID 1 and returns its exit code and everything it said.
fn as_pid_1(scenario: &str) -> (Option<i32>, String) {
    let output = playing(scenario, &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .output()
        .expect("unshare of util-linux is needed for tests of PID 1");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn limits(scenario: &str) -> config::Supervisor {
    let usual = config::Supervisor {
        start_limit: 3,
        start_window: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(3),
        backoff_base: Duration::from_millis(50),
        backoff_cap: Duration::from_secs(1),
        probe_limit: 3,
    };
    let millisecond = Duration::from_millis(1);
    match scenario {
        "stop_in_backoff" => config::Supervisor { backoff_base: LONG, backoff_cap: LONG, ..usual },
        "every_death" | "crashes" => {
            config::Supervisor { start_limit: u32::MAX, backoff_base: millisecond, backoff_cap: millisecond, ..usual }
        }
        "deaf" => config::Supervisor { stop_timeout: LONG, ..usual },
        _ => usual,
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
        said: None,
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
        let (supervisor, handle) = Supervisor::new(&limits(&name), signals).unwrap();
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
        "deaf" => {
            let policy = Policy { term_limit: Duration::from_millis(700), ..Policy::default() };
            handle.supervise(child("engine", policy, "trap '' TERM; echo up; while :; do sleep 1; done"));
            tokio::time::sleep(Duration::from_millis(500)).await;
            handle.stop("the child is deaf");
        }
        "early_stop" => {
            handle.supervise(child("first", Policy::default(), "echo first runs; exec sleep 600"));
            handle.supervise(child("second", Policy { after: Some("first"), ..Policy::default() }, "echo second runs"));
            handle.stop("nothing is ready yet");
        }
        "stop_in_backoff" => {
            handle.supervise(child("engine", Policy::default(), "exit 1"));
            until(handle, |all| all.iter().any(|c| c.state == State::Backoff)).await;
            handle.stop("it waits to be started again");
        }
        "every_death" => {
            let mut deaths = DEATHS.iter();
            let make = move || Ok(sh("engine", deaths.next().copied().unwrap_or("exec sleep 600")));
            handle.supervise(Child { name: "engine", policy: Policy::default(), make: Box::new(make), ask: None });
            let all = u32::try_from(DEATHS.len()).unwrap();
            until(handle, |children| children.iter().any(|c| c.restarts == all)).await;
            handle.stop("it came back each time");
        }
        "ten_restarts" => {
            handle.supervise(child("engine", Policy::default(), "trap 'sleep 0.2; exit 0' TERM; sleep 600 & wait"));
            let before = until(handle, |all| all.iter().any(|c| c.pid.is_some())).await;
            (0..10).for_each(|_| handle.restart("engine"));
            let after = until(handle, |all| all[0].pid.is_some() && all[0].pid != before[0].pid).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            println!("restarts {}, last exit {:?}", handle.statuses()[0].restarts, after[0].last_exit);
            println!("the same one still: {}", handle.statuses()[0].pid == after[0].pid);
            handle.stop("seen");
        }
        "hung" => {
            let policy = Policy { probe_limit: 3, ..Policy::default() };
            handle.supervise(child("engine", policy, "exec sleep 600"));
            let before = until(handle, |all| all.iter().any(|c| c.pid.is_some())).await;
            handle.ready("engine");
            signal(before[0].pid.unwrap(), nix::sys::signal::Signal::SIGSTOP);
            handle.failed_probe("engine", None);
            handle.failed_probe("engine", None);
            handle.answered("engine");
            (0..3).for_each(|_| handle.failed_probe("engine", None));
            let after = until(handle, |all| all[0].pid.is_some() && all[0].pid != before[0].pid).await;
            println!("last exit: {:?}", after[0].last_exit);
            handle.stop("seen");
        }
        "orphaned" => {
            handle.supervise(child("engine", Policy::default(), "echo pid $$; exec sleep 600"));
            until(handle, |_| false).await;
        }
        "crashes" => crashes(handle, env::var(CRASHES).map_or(300, |n| n.parse().unwrap())).await,
        other => panic!("no scenario {other}"),
    }
}

/// Everything a process can die of, by its own hand.
const DEATHS: [&str; 22] = [
    "exit 0",
    "exit 1",
    "exit 255",
    "kill -1 $$",
    "kill -2 $$",
    "kill -3 $$",
    "kill -4 $$",
    "kill -5 $$",
    "kill -6 $$",
    "kill -7 $$",
    "kill -8 $$",
    "kill -9 $$",
    "kill -10 $$",
    "kill -11 $$",
    "kill -12 $$",
    "kill -13 $$",
    "kill -14 $$",
    "kill -15 $$",
    "kill -24 $$",
    "kill -27 $$",
    "kill -31 $$",
    "kill -40 $$",
];

/// A child that dies at once, this often: what PID 1 holds afterwards is what it held after the first tenth.
async fn crashes(handle: &Handle, count: u32) {
    let spec = || ChildSpec { program: "false".into(), args: Vec::new(), ..sh("crasher", "") };
    let make = move || Ok(spec());
    handle.supervise(Child { name: "crasher", policy: Policy::default(), make: Box::new(make), ask: None });
    until(handle, |all| all.iter().any(|c| c.restarts >= count / 10)).await;
    let before = held();
    until(handle, |all| all[0].restarts >= count).await;
    let after = held();
    println!(
        "crashes {count}, descriptors {} {}, children {} {}, resident KiB {} {}",
        before.0, after.0, before.1, after.1, before.2, after.2
    );
    handle.stop("enough");
}

/// Descriptors, children (zombies too) and resident KiB of this process.
fn held() -> (usize, usize, u64) {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default().split_whitespace().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    (descriptors, children, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

fn kill(pid: i32) {
    signal(pid, nix::sys::signal::Signal::SIGKILL);
}

fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
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
    assert!(
        said.contains("cannot start missing (\"no-such-tool\"): no-such-tool: cannot execute the program"),
        "{said}"
    );
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

#[test]
fn a_child_that_is_deaf_to_term_is_killed_after_its_limit_and_not_before() {
    let started = Instant::now();
    let (code, said) = as_pid_1("deaf");
    assert_eq!(code, Some(137), "{said}");
    assert!(said.contains("did not end in time: killing it"), "{said}");
    assert!((Duration::from_millis(1200)..LONG).contains(&started.elapsed()), "{said}");
}

#[test]
fn a_stop_before_anything_is_ready_starts_nothing_more_and_is_clean() {
    let (code, said) = as_pid_1("early_stop");
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("second runs"), "{said}");
}

#[test]
fn a_stop_while_a_child_waits_to_be_started_again_ends_at_once() {
    let started = Instant::now();
    let (code, said) = as_pid_1("stop_in_backoff");
    assert_eq!(code, Some(0), "{said}");
    assert!(started.elapsed() < LONG / 10, "{said}");
}

#[test]
fn a_child_comes_back_after_every_way_to_die() {
    let (code, said) = as_pid_1("every_death");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("ended unasked").count(), DEATHS.len(), "{said}");
}

#[test]
fn ten_requests_to_restart_leave_one_instance() {
    let (code, said) = as_pid_1("ten_restarts");
    assert_eq!(code, Some(0), "{said}");
    // By its own trap or, before that is set, by the signal.
    assert!(said.contains("restarts 1, last exit Some(\"") && said.contains(", restarted on request\")"), "{said}");
    assert!(said.contains("the same one still: true"), "{said}");
}

#[test]
fn a_child_that_hangs_is_restarted_after_its_limit_of_unanswered_probes_in_a_row() {
    let (code, said) = as_pid_1("hung");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("last exit: Some(\"killed by SIGTERM, hung: unanswered probes: 3\")"), "{said}");
}

#[test]
fn children_end_with_a_warden_that_is_killed() {
    let mut warden = playing("orphaned", &[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(warden.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|l| l.split("[engine] pid ").nth(1)?.trim().parse::<i32>().ok());
    let pid = nix::unistd::Pid::from_raw(pid.expect("the child says its pid"));
    warden.kill().unwrap();
    warden.wait().unwrap();
    let began = Instant::now();
    // A zombie is none of ours to reap here.
    let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        assert!(began.elapsed() < Duration::from_secs(20), "{pid} outlives the warden");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// scripts/bench/crashes.sh has 10,000 of them.
#[test]
fn crashes_of_a_child_leave_nothing_behind() {
    let (code, said) = as_pid_1("crashes");
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|l| l.starts_with("crashes ")).unwrap_or_else(|| panic!("{said}"));
    println!("{line}");
    let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [_, descriptors_before, descriptors, _, children, resident_before, resident] = numbers[..] else {
        panic!("{line}");
    };
    // One child may just have been started, with its pipe.
    assert!(descriptors <= descriptors_before + 3 && children <= 1, "{line}");
    assert!(resident < resident_before + 4096, "{line}");
}
