"""What the warden does to other containers, seen from Docker's own record of events."""

import json
import os
import signal
import time

from stack import APP, CERTS, POSTGRES, SERVER, WORKER, bash, eventually, inspect, must, run

PUBLISHED = "/etc/temporal/published/postgres/server.crt"
SERVED = "echo | openssl s_client -starttls postgres -connect postgres:5432 -servername postgres -CAfile {ca} -verify_return_error 2>/dev/null | openssl x509 -noout -serial"


def warden(*arguments: str):
    return run("docker", "exec", SERVER, "temporal-warden", *arguments)


def status() -> dict:
    return json.loads(must("docker", "exec", SERVER, "temporal-warden", "status", "--json"))


def settled() -> None:
    """Wait until everybody who has to be told of the last rotation was."""

    def nobody_waits() -> bool:
        listed = warden("dependent", "list")
        return listed.ok and not any(word in listed.stdout for word in ("is due", "being told", "pending"))

    eventually("all dependents are told", nobody_waits, seconds=60)


def told_since(moment: float) -> list[str]:
    """What was done to containers by the API since then, in order: `NAME restart` or `NAME kill 1` (SIGHUP)."""
    template = '{{.Actor.Attributes.name}} {{.Action}} {{index .Actor.Attributes "signal"}}'
    command = ["docker", "events", "--since", f"{moment:.3f}", "--until", f"{time.time():.3f}", "--format", template]
    for name in (POSTGRES, WORKER, APP, SERVER):
        command += ["--filter", f"container={name}"]
    for event in ("restart", "kill"):
        command += ["--filter", f"event={event}"]
    lines = [line.replace("<no value>", "").strip() for line in must(*command).splitlines()]
    return [line for line in lines if line.endswith(" restart") or line.endswith(" kill 1")]


def postgres_serial() -> str:
    """Of the certificate PostgreSQL serves, verified against the published CA."""
    return bash(SERVER, SERVED.format(ca=f"{CERTS}/ca.crt")).stdout.strip()


def published_serial() -> str:
    return must("docker", "exec", SERVER, "openssl", "x509", "-noout", "-serial", "-in", PUBLISHED).strip()


def kill_first_process(container: str) -> None:
    os.kill(int(inspect(container, "{{.State.Pid}}")), signal.SIGKILL)


def holders() -> dict[str, str]:
    return {holder["name"]: holder["holds"] for holder in status()["holders"]}
