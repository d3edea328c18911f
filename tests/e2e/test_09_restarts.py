"""No workflow is lost when the server stops, is killed or dies. Last, because everything restarts."""

import os
import shlex
import signal

import guide
from stack import CERTS, SERVER, bash, eventually, finished, healthy, inspect, must, start_job

# Who was told of what (dependents.json) is written when it happens, also after a rotation of a test before.
FINGERPRINTS = f"cd {CERTS} && find . -type f ! -name dependents.json -exec sha256sum {{}} + | sort -k2"


def restarted(before: str) -> None:
    eventually("the container runs again", lambda: inspect(SERVER, "{{.State.Running}} {{.State.StartedAt}}") not in (f"true {before}", f"false {before}"))
    eventually("the server is healthy again", healthy, seconds=120)


def test_a_second_start_changes_no_byte_and_loses_no_workflow():
    before = inspect(SERVER, "{{.State.StartedAt}}")
    files = bash(SERVER, FINGERPRINTS).stdout
    assert "ca.key" in files
    job = start_job("across docker-compose restart", delay_seconds=8)
    _, restart = guide.commands(guide.block("Certificate Rotation"))
    assert restart == "docker-compose -f docker-compose.prod.yml restart temporal"
    must(*shlex.split(restart), seconds=180)
    restarted(before)
    assert finished(job) == "processed across docker-compose restart"
    assert bash(SERVER, FINGERPRINTS).stdout == files


def test_a_stop_is_clean_and_quick():
    must("docker", "stop", SERVER, seconds=60)
    assert inspect(SERVER, "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    must("docker", "start", SERVER)
    eventually("the server is healthy again", healthy, seconds=120)


def test_a_killed_container_that_is_started_again_loses_no_workflow():
    before = inspect(SERVER, "{{.State.StartedAt}}")
    job = start_job("across docker kill", delay_seconds=8)
    must("docker", "kill", "-s", "KILL", SERVER)
    eventually("the container stopped", lambda: inspect(SERVER, "{{.State.Running}}") == "false")
    must("docker", "start", SERVER)
    restarted(before)
    assert finished(job) == "processed across docker kill"


def test_the_restart_policy_brings_a_dead_pid_1_back_and_no_workflow_is_lost():
    before = inspect(SERVER, "{{.State.StartedAt}}")
    job = start_job("across a dead PID 1", delay_seconds=8)
    os.kill(int(inspect(SERVER, "{{.State.Pid}}")), signal.SIGKILL)
    restarted(before)
    assert finished(job) == "processed across a dead PID 1"


def test_a_dead_temporal_and_a_dead_gateway_are_restarted_without_the_container():
    before = inspect(SERVER, "{{.State.StartedAt}}")
    job = start_job("across dead children", delay_seconds=8)
    for user in ("temporal", "warden-gateway"):
        must("docker", "exec", SERVER, "bash", "-c", f"kill -KILL $(awk '/^Uid:/ && $2 == '$(id -u {user})' {{print FILENAME}}' /proc/[0-9]*/status | cut -d/ -f3)")
    assert finished(job) == "processed across dead children"
    assert inspect(SERVER, "{{.State.StartedAt}}") == before
    # Each is known to be healthy again, so that its next death is not counted as a quick one.
    states = "temporal-warden status --json | jq -r '.children[] | .name + \" \" + .state + \" \" + (.restarts | tostring)'"
    eventually("both are ready", lambda: bash(SERVER, states).stdout.split("\n")[:2] == ["gateway ready 1", "temporal ready 1"], seconds=20)


def test_a_gateway_that_is_told_to_stop_ends_its_polls_and_no_workflow_is_lost():
    before = inspect(SERVER, "{{.State.StartedAt}}")
    job = start_job("across a new gateway", delay_seconds=6)
    must("docker", "exec", SERVER, "bash", "-c", "kill -TERM $(awk '/^Uid:/ && $2 == '$(id -u warden-gateway)' {print FILENAME}' /proc/[0-9]*/status | cut -d/ -f3)")
    assert finished(job) == "processed across a new gateway"
    assert inspect(SERVER, "{{.State.StartedAt}}") == before
    polls = must("docker", "exec", SERVER, "temporal-warden", "audit", "tail", "--json", "--method", "Poll", "-n", "200")
    assert "ended because the gateway stops" in polls, "the worker was told, and polled again"
    assert bash(SERVER, "temporal-warden audit verify").ok


def test_the_rotation_of_the_guide_ends_with_new_certificates_everywhere():
    serial = ("docker", "exec", SERVER, "openssl", "x509", "-noout", "-serial", "-in", f"{CERTS}/temporal-server.crt")
    old = must(*serial)
    generate, restart = guide.commands(guide.block("Certificate Rotation"))
    must(*shlex.split(generate))
    before = inspect(SERVER, "{{.State.StartedAt}}")
    must(*shlex.split(restart), seconds=180)
    restarted(before)
    assert must(*serial) != old
    assert finished(start_job("with rotated certificates")) == "processed with rotated certificates"
