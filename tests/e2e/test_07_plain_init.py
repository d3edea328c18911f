"""`run -- COMMAND` in a real container: the warden in the place of tini, or of `docker run --init`."""

import os

from stack import Result, eventually, inspect, must, run

IMAGE = os.environ.get("WARDEN_IMAGE", "temporal-warden:latest")


def container(*command: str, options: tuple[str, ...] = ()) -> Result:
    return run("docker", "run", "--rm", "--network", "none", *options, IMAGE, "run", "--", *command)


def test_the_exit_code_of_the_container_is_the_commands_own():
    for script, code in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)):
        assert container("bash", "-c", script).returncode == code, script
    assert container("no-such-command").returncode == 127
    assert container("/etc/passwd").returncode == 126


def test_a_stop_right_after_the_start_is_not_lost():
    for _ in range(5):
        name = must("docker", "run", "-d", "--network", "none", IMAGE, "run", "--", "sleep", "600").strip()
        try:
            must("docker", "kill", "-s", "TERM", name)
            eventually("it ends", lambda: inspect(name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 143", seconds=20)
        finally:
            run("docker", "rm", "-f", name)


def test_a_daemon_in_its_own_session_is_asked_and_waited_for():
    daemon = "trap 'sleep 0.5; echo asked; exit' TERM; sleep 600 & wait"
    done = container("bash", "-c", f'setsid bash -c "{daemon}" & sleep 1; exit 9')
    assert (done.returncode, done.stdout) == (9, "asked\n")


def test_a_thousand_orphans_leave_no_zombie():
    script = "for i in $(seq 1000); do (sleep 0.3 &); done; sleep 3; cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '"
    assert container("bash", "-c", script).stdout.strip() == "0"


def test_below_the_engines_own_init_it_says_so_and_works():
    done = container("bash", "-c", "exit 4", options=("--init",))
    assert done.returncode == 4
    assert "not PID 1" in done.stderr


def test_the_command_has_the_terminal():
    line = f"docker run --rm -it --network none {IMAGE} run -- bash -c 'set -m; read -r word; echo got $word; exit 5'"
    done = run("script", "-qec", line, "/dev/null", stdin="something\n")
    assert done.returncode == 5, done.text
    assert "got something" in done.stdout and "no job control" not in done.text, done.text


def test_it_needs_no_privilege_and_no_writable_file():
    options = ("--read-only", "--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    done = container("grep", "-E", "^(Uid|Sig[BI]|CapEff)", "/proc/self/status", options=options)
    none = "0000000000000000"
    assert done.stdout.split("\n")[:4] == ["Uid:\t1000\t1000\t1000\t1000", f"SigBlk:\t{none}", f"SigIgn:\t{none}", f"CapEff:\t{none}"]
