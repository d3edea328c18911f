//! What a gateway that was taken over could still do: next to nothing. The walls are put up in this test binary, run
//! again for each attempt; that the gateway itself stands behind them is read from the kernel.

mod gateway;

use std::{
    env, fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
    thread,
};

use gateway::{Gateway, LIST};
use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
        uio::process_vm_readv,
    },
    unistd::Pid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use temporal_warden::gateway::confine::{Wall, confine};

const ATTEMPT: &str = "WARDEN_TEST_ATTEMPT";
const PORT: &str = "WARDEN_TEST_PORT";

/// Runs an attempt below in a process of its own, behind walls that let it connect to `port` only.
fn behind_walls(attempt: &str, port: u16) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "attempt", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ATTEMPT, attempt).env(PORT, port.to_string()).output().unwrap()
}

/// Not a test of its own. Prints what an intruder got.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn attempt() {
    let name = env::var(ATTEMPT).expect("run by the other tests");
    let port = env::var(PORT).unwrap().parse().unwrap();
    let parent = nix::unistd::getppid();
    for wall in confine(Some(&[port])) {
        println!("\n{wall:?}");
        assert!(matches!(wall, Wall::Stands(_)), "this kernel has both");
    }
    println!("got: {}", play(&name, port, parent));
}

fn play(name: &str, port: u16, parent: Pid) -> String {
    let said = |result: Result<(), String>| result.map_or_else(|error| error, |()| "all of it".to_owned());
    match name {
        "upstream" => said(TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())),
        "another port" => said(TcpStream::connect(("127.0.0.1", port - 1)).map(drop).map_err(|e| e.to_string())),
        "listen" => said(TcpListener::bind("127.0.0.1:0").map(drop).map_err(|e| e.to_string())),
        "name server" => said(UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| e.to_string())),
        "read a file" => said(fs::read("/etc/passwd").map(drop).map_err(|e| e.to_string())),
        "read names" => said(fs::read("/etc/hosts").map(drop).map_err(|e| e.to_string())),
        "write a file" => said(fs::write("/tmp/warden-was-here", "x").map_err(|e| e.to_string())),
        "signal PID 1" => said(kill(parent, None::<Signal>).map_err(|e| e.to_string())),
        "raw socket" => said(open_socket(AddressFamily::Inet, SockType::Raw)),
        "packet socket" => said(open_socket(AddressFamily::Packet, SockType::Raw)),
        "unix socket" => said(open_socket(AddressFamily::Unix, SockType::Stream)),
        "executable memory" => said(executable_memory()),
        "thread" => std::thread::spawn(|| "all of it".to_owned()).join().unwrap(),
        "run a program" => said(Command::new("/bin/true").status().map(drop).map_err(|e| e.to_string())),
        "execve" => format!("{:?}", nix::unistd::execve(c"/bin/true", &[c"true"], &[c"A=1"])),
        "another's memory" => said(process_vm_readv(parent, &mut [], &[]).map(drop).map_err(|e| e.to_string())),
        "another namespace" => {
            said(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(|e| e.to_string()))
        }
        other => panic!("no attempt {other}"),
    }
}

fn open_socket(family: AddressFamily, kind: SockType) -> Result<(), String> {
    let protocol = (family == AddressFamily::Inet).then_some(SockProtocol::Icmp);
    socket(family, kind, SockFlag::empty(), protocol).map(drop).map_err(|e| e.to_string())
}

fn executable_memory() -> Result<(), String> {
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_EXEC);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping, which nothing else knows of.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, write | execute, flags, -1, 0) };
    if page == libc::MAP_FAILED { Err(std::io::Error::last_os_error().to_string()) } else { Ok(()) }
}

fn got(attempt: &str, port: u16) -> String {
    let output = behind_walls(attempt, port);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let got = text.lines().find_map(|line| line.strip_prefix("got: ").map(str::to_owned));
    got.unwrap_or_else(|| panic!("{attempt}: {:?} {text} {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn what_a_gateway_needs_is_left_to_it() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = upstream.local_addr().unwrap().port();
    for attempt in ["upstream", "name server", "read names", "thread"] {
        assert_eq!(got(attempt, port), "all of it", "{attempt}");
    }
}

#[test]
fn files_other_ports_other_processes_and_other_kinds_of_socket_are_out_of_reach() {
    let absent = "Function not implemented";
    for (attempt, answer) in [
        ("another port", "Permission denied"),
        ("listen", "Permission denied"),
        ("read a file", "Permission denied"),
        ("write a file", absent),
        ("raw socket", absent),
        ("packet socket", absent),
        ("unix socket", absent),
        ("signal PID 1", "ENOSYS"),
        ("executable memory", absent),
        // The C library starts one by vfork or clone3, which make a process.
        ("run a program", absent),
    ] {
        let got = got(attempt, 9);
        assert!(got.contains(answer) || got.contains("ENOSYS"), "{attempt}: {got}");
    }
}

#[test]
fn running_a_program_or_looking_into_a_process_ends_the_gateway_at_once() {
    for attempt in ["execve", "another's memory", "another namespace"] {
        let output = behind_walls(attempt, 9);
        let signal = output.status.signal();
        assert_eq!(
            signal,
            Some(libc::SIGSYS),
            "{attempt}: {:?} {}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[tokio::test]
async fn every_thread_of_the_gateway_stands_behind_both_filters() {
    let gateway = Gateway::start().await;
    let connection = gateway.connect().await;
    assert_eq!(gateway.call(&connection, LIST, "temporal-client").await.status(), 0);
    let process = format!("/proc/{}", gateway.child.id());
    let threads: Vec<_> = fs::read_dir(format!("{process}/task")).unwrap().map(|t| t.unwrap().path()).collect();
    assert!(threads.len() > 3, "workers, audit, log: {threads:?}");
    for thread in threads {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        for line in ["Seccomp:\t2", "Seccomp_filters:\t2", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line} in {}: {status}", thread.display());
        }
    }
}

/// Takes both walls from this thread and what it starts: the calls that put them up fail with `errno`, as on a kernel
/// that has neither (ENOSYS), or in a container whose runtime does not know them yet (EPERM).
fn without_walls(errno: i32) {
    let set_seccomp = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 22).unwrap();
    let refused = [
        (libc::SYS_landlock_create_ruleset, Vec::new()),
        (libc::SYS_seccomp, Vec::new()),
        (libc::SYS_prctl, vec![SeccompRule::new(vec![set_seccomp]).unwrap()]),
    ];
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()));
    let arch = env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(refused.into_iter().collect(), allow, refuse, arch).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn a_kernel_that_has_neither_wall_costs_a_line_of_the_log_each_and_not_the_start() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        // A filter stays with its thread for good.
        let serving = thread::spawn(move || {
            without_walls(errno);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut gateway = Gateway::start().await;
                let connection = gateway.connect().await;
                assert_eq!(gateway.call(&connection, LIST, "temporal-client").await.status(), 0);
                let status = fs::read_to_string(format!("/proc/{}/status", gateway.child.id())).unwrap();
                assert!(status.contains("Seccomp_filters:\t1"), "the test's own alone: {status}");
                drop(connection);
                assert_eq!(gateway.drain().await, 0);
                gateway.log()
            })
        });
        let log = serving.join().unwrap();
        for wall in ["no Landlock for the gateway: ", "no seccomp for the gateway: "] {
            let lines: Vec<_> = log.lines().filter(|line| line.contains(wall)).collect();
            assert_eq!(lines.len(), 1, "{wall}: {log}");
            assert!(lines[0].contains("WARN") && lines[0].contains("is left to its user id"), "{}", lines[0]);
        }
    }
}
