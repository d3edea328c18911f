"""The production stack as a user sees it: docker, docker-compose, HTTP. No private knowledge of the warden."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STACK = ROOT / "scripts/dev/stack.sh"
SERVER, APP, WORKER, POSTGRES = "app_data_temporal_server", "app_data_fastapi_app", "app_data_worker", "app_data_postgres"
CERTS = "/etc/temporal/certs"
API = "http://127.0.0.1:8000"


class Result(subprocess.CompletedProcess):
    """What a command did; `text` is both of its streams."""

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    @property
    def ok(self) -> bool:
        return self.returncode == 0


def run(*command: str | Path, stdin: str = "", seconds: float = 120) -> Result:
    """Run a command to its end, whatever its exit code."""
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, text=True, timeout=seconds, cwd=ROOT)
    return Result(done.args, done.returncode, done.stdout, done.stderr)


def must(*command: str | Path, stdin: str = "", seconds: float = 120) -> str:
    """Run a command that has to succeed; its standard output."""
    done = run(*command, stdin=stdin, seconds=seconds)
    assert done.ok, f"{' '.join(map(str, command))} exited {done.returncode}:\n{done.text}"
    return done.stdout


def bash(container: str, script: str, seconds: float = 120) -> Result:
    """Run lines in a shell inside a container, as after `docker exec -it CONTAINER bash`."""
    return run("docker", "exec", "-i", container, "bash", "-c", script, seconds=seconds)


# The SDK's threads outlive the event loop, and an interpreter that is taken down under them now and then dies of SIGSEGV (exit code 139)
# after its last line: https://github.com/temporalio/sdk-python/issues/300. A program that got there has ended well.
AT_THE_END = """
import os, sys
sys.stdout.flush()
os._exit(0)
"""


def python(container: str, program: str, seconds: float = 120) -> Result:
    """Run a Python program inside a container."""
    return run("docker", "exec", "-i", container, "python", "-", stdin=program + AT_THE_END, seconds=seconds)


def inspect(container: str, template: str) -> str:
    return must("docker", "inspect", "--format", template, container).strip()


def eventually(what: str, condition: Callable[[], object], seconds: float = 90, every: float = 0.5) -> object:
    """Wait until the condition is truthy; an exception counts as not yet."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = condition()
            if last:
                return last
        except Exception as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last}")


def healthy(container: str = SERVER) -> bool:
    return inspect(container, "{{.State.Health.Status}}") == "healthy"


def api(path: str, body: dict | None = None) -> dict:
    """Call the FastAPI application."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def start_job(data: str, delay_seconds: float = 0) -> str:
    return api("/jobs", {"data": data, "delay_seconds": delay_seconds})["id"]


def finished(job: str, seconds: float = 90) -> str:
    """The result of a job; errors on the way (a server that restarts) count as not yet."""
    state = eventually(f"{job} completed", lambda: (s := api(f"/jobs/{job}"))["status"] == "COMPLETED" and s, seconds)
    return state["result"]


def up() -> None:
    """A stack from nothing: no volume, no key, no data."""
    must(STACK, "down", "-v", seconds=180)
    subprocess.run([STACK, "up"], check=True, timeout=3000, cwd=ROOT)


def down() -> None:
    must(STACK, "down", "-v", seconds=180)


KEEP = bool(os.environ.get("E2E_KEEP"))
