//! `temporal-warden run -- COMMAND` on a terminal, as in `docker run -it`: the command has it, with job control.

mod pid1_scene;

use std::{
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use pid1_scene::{LIMIT, WARDEN, wait_for};

/// What every shell of root's shows; the tests need root anyway.
const PROMPT: &str = "# ";

/// A command line on a pseudo-terminal, by `script` of util-linux.
struct Terminal {
    script: Child,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(line: &str) -> Self {
        let mut script = Command::new("script")
            .args(["-qec", line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux is needed for tests on a terminal");
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut out, kept) = (script.stdout.take().unwrap(), seen.clone());
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut chunk) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        Self { script, seen }
    }

    /// As PID 1 of a namespace.
    fn pid_1(command: &str) -> Self {
        Self::run(&format!("unshare --pid --fork --mount-proc {WARDEN} run -- {command}"))
    }

    fn types(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this shows up after everything that was waited for before.
    fn shows(&self, text: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let mut seen = self.seen.lock().unwrap();
            if let Some(at) = seen.find(text) {
                seen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < end, "the terminal never showed {text:?}, but {seen:?}");
            drop(seen);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn code(mut self) -> Option<i32> {
        wait_for("the terminal's command ends", || self.script.try_wait().unwrap()).code()
    }
}

#[test]
fn a_shell_on_the_terminal_ends_with_its_own_code() {
    for (line, code) in [("exit 0\n", 0), ("exit 5\n", 5)] {
        let mut terminal = Terminal::pid_1("sh -i");
        terminal.shows(PROMPT);
        terminal.types(line);
        assert_eq!(terminal.code(), Some(code));
    }
}

#[test]
fn control_c_ends_a_printing_loop_with_130() {
    let mut terminal = Terminal::pid_1("sh -c 'while :; do echo again; sleep 0.05; done'");
    terminal.shows("again");
    terminal.types("\x03");
    assert_eq!(terminal.code(), Some(130));
}

#[test]
fn what_is_typed_reaches_the_command_and_end_of_file_too() {
    let mut terminal = Terminal::pid_1("sh -c 'stty -echo; echo ready; exec tac'");
    terminal.shows("ready");
    terminal.types("first\nsecond\n\x04");
    terminal.shows("second\r\nfirst");
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_shell_has_job_control() {
    let mut terminal = Terminal::pid_1("bash --norc --noprofile -i");
    terminal.shows(PROMPT);
    terminal.types("set -o | grep monitor\n");
    terminal.shows("monitor        \ton");
    terminal.types("sleep 100\n");
    terminal.shows("sleep 100");
    // The shell gives the terminal to its job a moment after the echo.
    thread::sleep(Duration::from_millis(300));
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("kill %1; exit 6\n");
    terminal.shows("exit 6");
    // bash warns about stopped jobs once.
    terminal.types("exit 6\n");
    assert_eq!(terminal.code(), Some(6));
}

#[test]
fn below_an_interactive_shell_the_command_can_be_stopped_and_brought_back() {
    let mut terminal = Terminal::run("bash --norc --noprofile -i");
    terminal.shows(PROMPT);
    terminal.types(&format!("{WARDEN} run -- sh -c 'echo be\"\"gun; cat; exit 4' 2>/dev/null\n"));
    terminal.shows("begun");
    terminal.types("one\n");
    terminal.shows("one\r\none");
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.shows(PROMPT);
    terminal.types("fg\n");
    terminal.shows("cat; exit 4");
    terminal.types("two\n");
    terminal.shows("two\r\ntwo");
    terminal.types("\x04");
    terminal.shows(PROMPT);
    terminal.types("exit $?\n");
    assert_eq!(terminal.code(), Some(4));
}
