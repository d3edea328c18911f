//! Measures a PID 1 from outside: it is started as the init of a fresh PID namespace, with this program as its command.
//!
//!   bench start|stop|signal|reap|memory COUNT FOLDER PROGRAM ARGS…     COMMAND in ARGS becomes this program
//!   bench idle SECONDS FOLDER PROGRAM ARGS…
//!   bench lost COUNT FOLDER PROGRAM ARGS…
//!
//! One figure a line: µs for start (exec of PID 1 → `main` of its command), stop (SIGTERM to PID 1 → its end) and signal
//! (SIGUSR1 to PID 1 → seen by the command), orphans a second for reap, context switches for idle; for memory RSS, PSS
//! and private dirty KiB, processes and threads after COUNT orphans; for lost how many of COUNT SIGTERMs, sent 0 to 4 ms
//! after the exec of PID 1, did not end it.
//!
//! FOLDER/report is a FIFO on which the command (`bench child FOLDER`, FOLDER/mode says what it does) tells what happened
//! when. FOLDER/signal, where it exists, is a control FIFO to which a `1` is written instead of SIGUSR1 to PID 1.

use std::{
    ffi::{CString, c_char, c_int, c_long, c_void},
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    ptr, thread,
    time::Duration,
};

unsafe extern "C" {
    fn unshare(flags: c_int) -> c_int;
    fn fork() -> c_int;
    fn execv(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, number: c_int) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut [c_long; 2]) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn sigwaitinfo(set: *const u64, info: *mut c_void) -> c_int;
    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn pipe(ends: *mut c_int) -> c_int;
    fn read(fd: c_int, to: *mut c_void, length: usize) -> isize;
    fn close(fd: c_int) -> c_int;
    fn dup2(fd: c_int, to: c_int) -> c_int;
    fn pause() -> c_int;
    fn prctl(option: c_int, value: c_long) -> c_int;
    fn _exit(code: c_int) -> !;
}

const NEWPID: c_int = 0x2000_0000;
const SIGKILL: c_int = 9;
const SIGUSR1: c_int = 10;
const SIGTERM: c_int = 15;

fn main() {
    let begun = now();
    // The `run` of a service folder of s6 or runit: FOLDER/services/NAME/run.
    if std::env::args().next().is_some_and(|own| own == "./run" || own == "run") {
        return command(Path::new("../.."), begun);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["child", folder] => command(Path::new(folder), begun),
        [what, count, folder, ref program @ ..] => {
            let program = program.iter().map(|word| (*word).to_owned()).collect();
            measure(what, count.parse().expect("COUNT is a number"), &Subject { folder: folder.into(), program });
        }
        _ => panic!("see the first lines of bench.rs"),
    }
}

fn measure(what: &str, count: usize, subject: &Subject) {
    match what {
        "start" => (0..count).for_each(|_| println!("{:.1}", subject.run("idle").started())),
        "stop" => (0..count).for_each(|_| println!("{:.1}", subject.run("idle").stopped())),
        "signal" => {
            let mut running = subject.run("signals");
            (0..count).for_each(|_| println!("{:.1}", running.signalled(&subject.folder)));
        }
        "reap" => println!("{:.0}", subject.run(&format!("orphans {count}")).reaped()),
        "idle" => println!("{}", subject.run("idle").wakes(Duration::from_secs(count as u64))),
        "lost" => {
            let delay = |each: usize| Duration::from_micros(4000 * each as u64 / count as u64);
            println!("{}", (0..count).filter(|each| subject.exec("idle").survives_a_term_after(delay(*each))).count());
        }
        "memory" => {
            let mut running = subject.run(&format!("orphans {count}"));
            running.reaped();
            println!("{}", running.memory());
        }
        _ => panic!("no measurement {what}"),
    }
}

/// Microseconds of CLOCK_MONOTONIC, which is the same for all processes.
fn now() -> f64 {
    let mut time = [0; 2];
    // SAFETY: a timespec is two longs here.
    unsafe { clock_gettime(1, &raw mut time) };
    time[0] as f64 * 1e6 + time[1] as f64 / 1e3
}

/// Memory that a fork shares, all zero.
fn shared<T>(length: usize) -> *mut T {
    // SAFETY: PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS; nothing of ours lies there.
    unsafe { mmap(ptr::null_mut(), length * size_of::<T>(), 3, 0x21, -1, 0).cast() }
}

/// A PID 1 and how it is told what to run.
struct Subject {
    folder: PathBuf,
    program: Vec<String>,
}

/// One that runs, until it is dropped.
struct Running {
    init: c_int,
    /// Its parent here: outside the namespace, and ends right after it.
    outer: c_int,
    /// When the command's `main` began.
    up: f64,
    /// When PID 1 was executed, and when it had ended.
    times: *mut f64,
    /// PID 1's pid here.
    pids: *mut c_int,
    report: BufReader<File>,
}

impl Subject {
    fn run(&self, mode: &str) -> Running {
        let mut running = self.exec(mode);
        running.up = running.told("up");
        // SAFETY: written before the command began.
        running.init = unsafe { running.pids.read_volatile() };
        running
    }

    /// The same without waiting for the command.
    fn exec(&self, mode: &str) -> Running {
        fs::write(self.folder.join("mode"), mode).unwrap();
        let own = std::env::current_exe().unwrap().display().to_string();
        let child = [own, "child".to_owned(), self.folder.display().to_string()];
        let words = self.program.iter().flat_map(|w| if w == "COMMAND" { child.to_vec() } else { vec![w.clone()] });
        let words: Vec<CString> = words.map(|w| CString::new(w).unwrap()).collect();
        let argv: Vec<*const c_char> = words.iter().map(|w| w.as_ptr()).chain([ptr::null()]).collect();
        // For both, so that opening waits for nobody.
        let report = File::options().read(true).write(true).open(self.folder.join("report")).unwrap();
        // Ours is for figures alone.
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let (times, pids) = (shared::<f64>(2), shared::<c_int>(1));
        // SAFETY: one thread; the children make system calls only, on memory prepared above.
        let outer = unsafe {
            let outer = fork();
            if outer == 0 {
                // Whoever ends us ends the namespace too (PR_SET_PDEATHSIG).
                prctl(1, SIGKILL.into());
                if unshare(NEWPID) != 0 {
                    _exit(111);
                }
                let init = fork();
                if init == 0 {
                    prctl(1, SIGKILL.into());
                    dup2(nowhere.as_raw_fd(), 1);
                    times.write_volatile(now());
                    execv(argv[0], argv.as_ptr());
                    _exit(112);
                }
                pids.write_volatile(init);
                waitpid(init, ptr::null_mut(), 0);
                times.add(1).write_volatile(now());
                _exit(0);
            }
            outer
        };
        Running { init: 0, outer, up: 0.0, times, pids, report: BufReader::new(report) }
    }
}

impl Running {
    /// Waits until the command tells this, and returns the number it tells.
    fn told(&mut self, what: &str) -> f64 {
        let mut line = String::new();
        while self.report.read_line(&mut line).unwrap() > 0 {
            if let Some(number) = line.trim_end().strip_prefix(what) {
                return number.trim().parse().unwrap();
            }
            line.clear();
        }
        panic!("the command never told {what}");
    }

    fn started(&self) -> f64 {
        // SAFETY: written before the command began.
        self.up - unsafe { self.times.read_volatile() }
    }

    fn stopped(mut self) -> f64 {
        // The command is given the time to come to rest.
        thread::sleep(Duration::from_millis(3));
        let asked = now();
        // SAFETY: plain system calls; the time was written before `outer` ended.
        unsafe {
            kill(self.init, SIGTERM);
            waitpid(self.outer, ptr::null_mut(), 0);
            // Its number may be another's by now.
            self.init = 0;
            self.times.add(1).read_volatile() - asked
        }
    }

    fn survives_a_term_after(mut self, delay: Duration) -> bool {
        // SAFETY: shared memory that lives as long as we do, and plain system calls.
        unsafe {
            while self.pids.read_volatile() == 0 || self.times.read_volatile() == 0.0 {}
            self.init = self.pids.read_volatile();
            // Awake, because sleeping is not that exact.
            while now() < self.times.read_volatile() + delay.as_secs_f64() * 1e6 {}
            kill(self.init, SIGTERM);
        }
        for _ in 0..200 {
            // SAFETY: as above. WNOHANG.
            if unsafe { waitpid(self.outer, ptr::null_mut(), 1) } == self.outer {
                self.init = 0;
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn signalled(&mut self, folder: &Path) -> f64 {
        thread::sleep(Duration::from_millis(1));
        let mut control = File::options().write(true).open(folder.join("signal")).ok();
        let sent = now();
        match &mut control {
            Some(fifo) => fifo.write_all(b"1").unwrap(),
            // SAFETY: a plain system call.
            None => drop(unsafe { kill(self.init, SIGUSR1) }),
        }
        self.told("signal") - sent
    }

    fn reaped(&mut self) -> f64 {
        self.told("reaped")
    }

    fn wakes(&self, time: Duration) -> u64 {
        thread::sleep(Duration::from_millis(500));
        let before = self.sum("status", "ctxt_switches:");
        thread::sleep(time);
        self.sum("status", "ctxt_switches:") - before
    }

    fn memory(&self) -> String {
        thread::sleep(Duration::from_millis(500));
        let [rss, pss, dirty] = ["Rss:", "Pss:", "Private_Dirty:"].map(|line| self.sum("smaps_rollup", line));
        format!("{rss} {pss} {dirty} {} {}", self.family().len(), self.sum("status", "Threads:"))
    }

    /// PID 1 and its helpers, without the command.
    fn family(&self) -> Vec<c_int> {
        // By its number, because a service's `run` is another name of it.
        let program = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|file| file.ino());
        let own = program("self").unwrap();
        let mut all = vec![self.init];
        let mut next = 0;
        while next < all.len() {
            let pid = all[next];
            let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let children = list.split_whitespace().filter_map(|p| p.parse::<c_int>().ok());
            all.extend(children.filter(|p| program(&p.to_string()).is_ok_and(|file| file != own)));
            next += 1;
        }
        all
    }

    /// The sum over the family of all numbers on lines that hold this.
    fn sum(&self, file: &str, line: &str) -> u64 {
        let texts = self.family().into_iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap());
        let number = |text: String| -> u64 {
            let lines = text.lines().filter(|l| l.split_whitespace().next().is_some_and(|first| first.ends_with(line)));
            lines.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
        };
        texts.map(number).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.init > 0 {
            // SAFETY: plain system calls; the namespace ends with its PID 1, `outer` with both.
            unsafe {
                kill(self.init, SIGKILL);
                waitpid(self.outer, ptr::null_mut(), 0);
            }
        }
    }
}

/// The command of the PID 1 under test.
fn command(folder: &Path, begun: f64) {
    let mut report = File::options().write(true).open(folder.join("report")).unwrap();
    let mut tell = |what: &str, number: f64| report.write_all(format!("{what} {number}\n").as_bytes()).unwrap();
    let mode = fs::read_to_string(folder.join("mode")).unwrap();
    // As long as a sigset_t of either C library.
    let mut usr1 = [0_u64; 16];
    usr1[0] = 1 << (SIGUSR1 - 1);
    // SAFETY: the mask is as long as the C library reads.
    unsafe { sigprocmask(0, usr1.as_ptr(), ptr::null_mut()) };
    tell("up", begun);
    if let Some(count) = mode.strip_prefix("orphans ") {
        tell("reaped", orphans(count.parse().unwrap()));
    }
    while mode == "signals" {
        // SAFETY: no information about the signal is asked for.
        unsafe { sigwaitinfo(usr1.as_ptr(), ptr::null_mut()) };
        tell("signal", now());
    }
    loop {
        // SAFETY: takes and touches nothing.
        unsafe { pause() };
    }
}

/// Makes this many orphans, ends them all at once, and waits until none is left: how many a second.
fn orphans(count: usize) -> f64 {
    let pids = shared::<c_int>(count);
    let mut gate = [0; 2];
    // SAFETY: one thread; children make system calls only, on shared memory and descriptors made above.
    unsafe {
        pipe(gate.as_mut_ptr());
        let nursery = fork();
        if nursery == 0 {
            close(gate[1]);
            for each in 0..count {
                let pid = fork();
                if pid == 0 {
                    read(gate[0], (&raw mut gate).cast(), 1);
                    _exit(0);
                }
                pids.add(each).write_volatile(pid);
            }
            _exit(0);
        }
        close(gate[0]);
        waitpid(nursery, ptr::null_mut(), 0);
        let opened = now();
        close(gate[1]);
        for each in 0..count {
            // They end in about the order they were made, so one look at each is enough.
            while kill(pids.add(each).read_volatile(), 0) == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        count as f64 / ((now() - opened) / 1e6)
    }
}
