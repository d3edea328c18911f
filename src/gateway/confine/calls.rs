//! seccomp: the system calls of a gateway that serves.
//!
//! Two filters. What only an intruder would want ends the process at once ([`FATAL`]): PID 1 tells of SIGSYS and starts
//! a clean one. All else that is not on the list fails with ENOSYS, as on a kernel that does not have it, so that a C
//! library which tries something new goes back to something old. The list was found by `strace -f` under ten test files
//! of the gateway and the audit log, glibc and musl.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::Wall;

/// Run another program, look into or change another process, change namespaces, mounts or the kernel.
const FATAL: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Allowed whatever their arguments; those of a call on the way of every request are here, because the kernel remembers
/// such verdicts (Linux 5.11) and does not run the filter for them.
const ALWAYS: &[libc::c_long] = &[
    // Sockets and files that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_getdents64,
    libc::SYS_accept4,
    libc::SYS_connect,
    // UDP to a name server; Landlock refuses it for TCP.
    libc::SYS_bind,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_getegid,
    libc::SYS_getgid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The older names of some of them, which aarch64 never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// Makes a socket non-blocking; how much there is to read; whether it is a terminal. Part of the kernel's interface.
const FIONBIO: libc::c_int = 0x5421;
const FIONREAD: libc::c_int = 0x541B;
const TCGETS: libc::c_int = 0x5401;

/// Restricts this thread and those it will start.
pub(super) fn restrict() -> Wall {
    match [fatal(), allowed()].into_iter().try_for_each(|filter| apply_filter(&filter?)) {
        Ok(()) => Wall::Stands(
            "seccomp: only the system calls of a gateway; running a program or looking into a process ends it"
                .to_owned(),
        ),
        Err(error) => Wall::Missing(format!(
            "no seccomp for the gateway: {error}; which system calls it makes is left to its user id"
        )),
    }
}

fn fatal() -> Result<BpfProgram, BackendError> {
    let rules = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    program(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn allowed() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, _> = ALWAYS.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    rules.extend(conditional()?);
    program(rules, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()), SeccompAction::Allow)
}

fn program(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()
}

/// Calls whose arguments matter.
fn conditional() -> Result<Vec<(libc::c_long, Vec<SeccompRule>)>, BackendError> {
    // No memory is ever made executable: what an intruder writes stays data.
    let not_executable = rule([masked(2, libc::PROT_EXEC, 0)])?;
    // Threads, no processes. clone3 hides its flags behind a pointer: without it C libraries use clone.
    let thread = rule([masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)])?;
    // Files are read only; those that are written were handed over open.
    let read_only = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
    // Its own threads, for `abort`.
    let itself = rule([equal(0, std::process::id().cast_signed())])?;
    let mut rules = vec![
        (libc::SYS_mmap, vec![not_executable.clone()]),
        (libc::SYS_mprotect, vec![not_executable]),
        (libc::SYS_clone, vec![thread]),
        (libc::SYS_openat, vec![rule([masked(2, read_only, 0)])?]),
        (libc::SYS_tgkill, vec![itself]),
        (libc::SYS_prctl, vec![rule([equal(0, libc::PR_SET_NAME)])?]),
        (libc::SYS_ioctl, each(1, &[FIONBIO, FIONREAD, TCGETS])?),
        // Reading limits, not setting them.
        (libc::SYS_prlimit64, vec![rule([null(2)])?]),
        (libc::SYS_socket, sockets()?),
    ];
    #[cfg(target_arch = "x86_64")]
    rules.push((libc::SYS_open, vec![rule([masked(1, read_only, 0)])?]));
    Ok(rules)
}

/// TCP to the upstream and UDP to the name server.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let kind = libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW | libc::SOCK_SEQPACKET;
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (wanted, protocol) in [
            (libc::SOCK_STREAM, libc::IPPROTO_IP),
            (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            (libc::SOCK_DGRAM, libc::IPPROTO_IP),
            (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
        ] {
            rules.push(rule([equal(0, family), masked(1, kind, wanted), equal(2, protocol)])?);
        }
    }
    Ok(rules)
}

type Condition = Result<SeccompCondition, BackendError>;

/// All of the conditions.
fn rule<const N: usize>(conditions: [Condition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The lower 32 bits of an argument, of which `mask` must be `value`.
fn masked(argument: u8, mask: libc::c_int, value: libc::c_int) -> Condition {
    let mask = SeccompCmpOp::MaskedEq(mask.cast_unsigned().into());
    SeccompCondition::new(argument, Dword, mask, value.cast_unsigned().into())
}

fn equal(argument: u8, value: libc::c_int) -> Condition {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.cast_unsigned().into())
}

fn null(argument: u8) -> Condition {
    SeccompCondition::new(argument, Qword, SeccompCmpOp::Eq, 0)
}

/// One rule for each value the argument may have.
fn each(argument: u8, values: &[libc::c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule([equal(argument, *value)])).collect()
}
