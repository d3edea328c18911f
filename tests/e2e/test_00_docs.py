"""The first test of a new stack: what docs/ shows of it, and every command that no other test runs, as it is written."""

import json
import re
import shlex
from collections.abc import Iterator

import pytest

import pages
from dependents import holders, settled
from stack import APP, CERTS, KEEP, POSTGRES, SERVER, WORKER, bash, eventually, finished, must, run, start_job

WARDEN = f"docker exec {SERVER} temporal-warden"
# What a page writes where the reader puts something of their own.
OWN = {"NAME": "from-the-readme", "FILE": f"{CERTS}/client-token.jwt", "FOLDER": "/tmp/billing", "job-…": ""}


@pytest.fixture(scope="module", autouse=True)
def a_job_and_a_refusal() -> Iterator[None]:
    """What the transcripts show something of; in the end everybody has what the commands made, and no restart is to come."""
    finished(start_job("hello"))
    refused = bash(SERVER, f"temporal namespace create orders --auth-token-file {CERTS}/client-token.jwt")
    assert "Forbidden" in refused.text
    yield
    everybody = (POSTGRES, WORKER, APP)
    eventually("everybody has the new certificates", lambda: [holders().get(name) for name in everybody] == ["current"] * 3)
    settled()


@pytest.fixture
def new_stack() -> None:
    """The pages show a stack that nothing was done to; one that was kept may have seen anything."""
    status = must("docker", "exec", SERVER, "temporal-warden", "status", "--json")
    if KEEP and json.loads(status)["generation"] != 0:
        pytest.skip("this stack has had rotations")


def test_status_is_one_screen(new_stack):
    pages.transcript("status", f"{WARDEN} status", (r"\d+ connections?", "N connections"), (r"(?m)^  this container .*\n", ""))


def test_doctor_finds_nothing(new_stack):
    pages.transcript("doctor", f"{WARDEN} doctor")


def test_who_is_told_of_a_rotation(new_stack):
    pages.transcript("dependent-list", f"{WARDEN} dependent list")


def test_the_record_of_one_client(new_stack):
    # Between these stand GetSystemInfo and health checks, as many as there was time for.
    keep = "TIME|StartWorkflow|RegisterNamespace"
    pages.transcript("audit-tail", f"{WARDEN} audit tail --principal temporal-client --since 10m", keep=keep)


def test_the_record_is_whole():
    pages.transcript("audit-verify", f"{WARDEN} audit verify")


def test_health_as_an_application_sees_it():
    material = " ".join(f"--{option} {CERTS}/{name}" for option, name in
                        (("cert", "temporal-client.crt"), ("key", "temporal-client.key"), ("cacert", "ca.crt")))
    pages.transcript("health", f"docker exec {APP} curl -s {material} https://temporal:7233/health | jq -c 'del(.connections)'")


def test_the_cli_says_why_it_is_refused():
    token = f"--auth-token-file {CERTS}/client-token.jwt"
    pages.transcript("forbidden", f"docker exec {SERVER} temporal namespace create test {token}", code=1)


def as_typed(command: str) -> str:
    """The command of a page with the reader's own words filled in; those for a shell in the container go there."""
    for word, own in OWN.items():
        command = re.sub(rf"(?<![A-Z]){word}(?![A-Z])", own, command)
    command = command.replace("… /usr/local/bin", f"docker exec {SERVER} /usr/local/bin").replace("docker exec -it", "docker exec -i")
    if command.startswith(("temporal ", "temporal-warden ")):
        command = f"docker exec {SERVER} bash -c {shlex.quote(command)}"
    return command.replace(" -f --decision deny", " --decision deny")  # which never ends


@pytest.mark.parametrize("page, command", pages.commands_for_the_stack())
def test_a_command_of_the_pages_works_as_written(page, command, tmp_path):
    folder = tmp_path if ">" in command else "."  # of the repository, where the compose files are
    done = run("bash", "-c", f"cd {folder} && {as_typed(command)}")
    assert done.ok, f"{page}: {done.text}"


def test_the_commands_of_the_examples_page_start_a_job_and_show_its_result():
    start, show = [command for command in pages.block_commands("examples/fastapi/README.md") if command.startswith("curl")]
    job = re.search(r'"id":"([^"]+)"', must("bash", "-c", start))[1]
    result = lambda: "processed hello" in run("bash", "-c", show.replace("job-…", job)).text  # noqa: E731
    eventually(f"{job} has its result", result)


def test_a_further_client_is_let_in_and_taken_out_again_as_the_page_says():
    must("bash", "-c", f"{WARDEN} cert issue --name books --scope temporal-client --ttl 1d --out /tmp/books")
    must("bash", "-c", f"docker exec {SERVER} tar -C /tmp -c books | tar -t | grep -q books/client-token.jwt")
    must("docker", "exec", SERVER, "rm", "-r", "/tmp/books")
