//! What happens before `main`: as PID 1, signals are blocked.
//!
//! The kernel drops a signal for a PID 1 that neither blocks nor handles it. Between the C library's start and `main` lie the
//! preparations of the cryptographic library and of the runtime.

use std::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::libc;

/// First of the functions that the C library calls before `main`.
#[used]
#[unsafe(link_section = ".init_array.00001")]
static FIRST: extern "C" fn() = block;

/// What was blocked before.
static BEFORE: AtomicU64 = AtomicU64::new(0);

/// All but the three that the C library may need for itself.
const ALL: u64 = !(0b111 << 31);

extern "C" fn block() {
    let (all, mut before) = (ALL, 0_u64);
    // SAFETY: system calls on locals, of the eight bytes that the kernel reads and writes.
    unsafe {
        if libc::getpid() == 1 {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, &raw mut before, 8);
        }
    }
    BEFORE.store(before, Ordering::Relaxed);
}

/// Undoes it in a PID 1 that is no init, such as `docker run IMAGE token list`: ^C ends it, and a program that it becomes
/// starts with a clean mask.
pub(in crate::supervisor) fn unblock() {
    let before = BEFORE.load(Ordering::Relaxed);
    // SAFETY: as above. One thread, so the mask is the process's.
    unsafe {
        if libc::getpid() == 1 {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const before, ptr::null_mut::<u64>(), 8);
        }
    }
}
