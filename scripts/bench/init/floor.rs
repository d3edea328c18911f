//! The least a static Rust program can do as PID 1: block signals, start the command, forward, reap, leave with its code.
//! What scripts/bench/init.sh measures others against. It lacks what a PID 1 should have: messages, daemons, jobs, terminals.

use std::ffi::{CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn sigwaitinfo(set: *const u64, info: *mut c_void) -> c_int;
    fn fork() -> c_int;
    fn setpgid(pid: c_int, group: c_int) -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, number: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const SETMASK: c_int = 2;
const SIGPIPE: c_int = 13;
const SIGCHLD: c_int = 17;
const NOHANG: c_int = 1;

fn main() {
    // As long as a sigset_t of either C library.
    let (all, none) = ([u64::MAX; 16], [0_u64; 16]);
    // SAFETY: masks are as long as the C library reads.
    unsafe { sigprocmask(SETMASK, all.as_ptr(), std::ptr::null_mut()) };
    let command: Vec<CString> = std::env::args().skip(1).map(|a| CString::new(a).unwrap()).collect();
    let argv: Vec<*const c_char> = command.iter().map(|a| a.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: one thread; between fork and exec only system calls.
    let child = unsafe {
        let pid = fork();
        if pid == 0 {
            setpgid(0, 0);
            signal(SIGPIPE, 0);
            sigprocmask(SETMASK, none.as_ptr(), std::ptr::null_mut());
            execvp(argv[0], argv.as_ptr());
            _exit(127);
        }
        pid
    };
    loop {
        // SAFETY: no information is asked for; waitpid writes one int.
        unsafe {
            let number = sigwaitinfo(all.as_ptr(), std::ptr::null_mut());
            if number > 0 && number != SIGCHLD {
                kill(-child, number);
            }
            let (mut status, mut code) = (0, None);
            loop {
                match waitpid(-1, &raw mut status, NOHANG) {
                    pid if pid == child && status & 0x7f == 0 => code = Some(status >> 8),
                    pid if pid == child => code = Some(128 + (status & 0x7f)),
                    ..=0 => break,
                    _ => {}
                }
            }
            code.into_iter().for_each(|code| std::process::exit(code));
        }
    }
}
