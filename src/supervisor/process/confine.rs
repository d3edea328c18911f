//! What a supervised child loses between fork and exec: descriptors, privileges, a life after PID 1.
//!
//! As all of [`super`], by system calls alone.

use std::{
    os::fd::{OwnedFd, RawFd},
    ptr,
    sync::Arc,
};

use nix::libc;

use super::{Step, check};
use crate::supervisor::spec::User;

/// Closes what is not in the map; above it by close-on-exec, so that a failed exec can still be reported.
///
/// # Safety
/// As [`become_program`](super::become_program).
pub(super) unsafe fn keep_only(fds: &[(RawFd, Arc<OwnedFd>)], above: RawFd) {
    const CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: acts on descriptor numbers of this process, a fork that is about to execute another program.
    unsafe {
        for fd in 0..above {
            if !fds.iter().any(|(target, _)| *target == fd) {
                libc::close(fd);
            }
        }
        if libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, CLOEXEC) < 0 {
            // Before Linux 5.11. What PID 1 opened is close-on-exec already; this is for what it inherited.
            for fd in above..4096 {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// No privilege, no way to one, and no life after PID 1.
///
/// # Safety
/// As [`become_program`](super::become_program).
pub(super) unsafe fn confine(user: Option<User>, nofile: Option<u64>, parent: i32) -> Result<(), (Step, i32)> {
    // SAFETY: raw system calls with integers and pointers to locals. Raw, because the C library's set*id functions
    // would try to signal threads that exist only in the parent.
    unsafe {
        libc::umask(0o027);
        // One byte, not none: a core_pattern that is a pipe ignores 0, but for 1 it refuses (coredump.c of the kernel).
        limit(libc::RLIMIT_CORE as _, 1)?;
        if let Some(files) = nofile {
            limit(libc::RLIMIT_NOFILE as _, files)?;
        }
        for capability in 0..64 {
            // Needs SETPCAP, which a hardened container does not give; no_new_privs below is the guarantee.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        if let Some(User { uid, gid }) = user {
            check(Step::Groups, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()))?;
            check(Step::Gid, libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            check(Step::Uid, libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        check(Step::Capabilities, empty_capabilities())?;
        check(Step::Capabilities, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        // After the uid change, which clears it; then the check, because the parent may have ended just before.
        check(Step::Parent, libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        if libc::getppid() != parent { Err((Step::Parent, libc::ESRCH)) } else { Ok(()) }
    }
}

/// # Safety
/// As [`become_program`](super::become_program).
unsafe fn limit(resource: libc::c_int, wanted: u64) -> Result<(), (Step, i32)> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is a valid rlimit for both calls. Raising the hard limit takes a privilege we do not keep.
    unsafe {
        check(Step::Limits, libc::getrlimit(resource as _, &raw mut now))?;
        now.rlim_cur = wanted.min(now.rlim_max);
        now.rlim_max = now.rlim_cur;
        check(Step::Limits, libc::setrlimit(resource as _, &raw const now)).map(drop)
    }
}

/// `capset` with version 3 and all bits off.
///
/// # Safety
/// As [`become_program`](super::become_program).
unsafe fn empty_capabilities() -> libc::c_long {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let sets = [0_u32; 6];
    // SAFETY: header and data have the layout of capset(2), version 3: two words, and two times three words.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) }
}
