"""examples/go and examples/typescript beside the stack: the guide's job in two more languages, through a rotation of everything."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from stack import SERVER, bash, eventually, healthy, inspect, must

LANGUAGES = {"go": 8001, "typescript": 8002}
CONTAINERS = [f"app_data_{language}_{part}" for language in LANGUAGES for part in ("app", "worker")]
COMPOSE = [os.environ.get("DOCKER_COMPOSE", "docker-compose"), "-f", "docker-compose.prod.yml"]
WITH_EXAMPLES = [*COMPOSE, *(word for language in LANGUAGES for word in ("-f", f"examples/{language}/docker-compose.yml"))]


@pytest.fixture(scope="module", autouse=True)
def examples() -> Iterator[None]:
    must("scripts/dev/images.sh", "examples", seconds=900)
    for language in LANGUAGES:
        must("docker", "build", "-q", "-t", f"temporal-warden-example-{language}:latest", f"examples/{language}", seconds=900)
    services = [name.removeprefix("app_data_") for name in CONTAINERS]
    must(*WITH_EXAMPLES, "up", "-d", "--no-build", "--no-deps", *services, seconds=300)
    for container in CONTAINERS:
        eventually(f"{container} is healthy", lambda: healthy(container), 120)
    yield
    must(*WITH_EXAMPLES, "rm", "--stop", "--force", "-v", *services, seconds=120)


def api(language: str, path: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{LANGUAGES[language]}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def start(language: str, data: str, delay_seconds: float = 0) -> str:
    return api(language, "/jobs", {"data": data, "delay_seconds": delay_seconds})["id"]


def finished(language: str, job: str) -> str:
    done = lambda: (state := api(language, f"/jobs/{job}"))["status"].upper() == "COMPLETED" and state  # noqa: E731
    return eventually(f"{language}: {job} completed", done, 60, every=0.2)["result"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_application_starts_a_job_and_the_worker_executes_it(language: str):
    assert finished(language, start(language, "hello")) == "processed hello"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_unknown_job_is_not_found_and_a_wrong_body_is_refused(language: str):
    for path, body, status in (("/jobs/job-none", None, 404), ("/jobs", "no object", 422)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            api(language, path, body)
        assert refused.value.code == status, path


class Load(threading.Thread):
    """Starts a job twice a second and keeps what each came to."""

    def __init__(self, language: str) -> None:
        super().__init__(daemon=True)
        self.language, self.jobs, self.errors, self.over = language, [], [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            try:
                self.jobs.append(start(self.language, str(len(self.jobs)), delay_seconds=1))
            except urllib.error.HTTPError as error:
                self.errors.append(f"{error.code}: {error.read().decode()}")
            except Exception as error:
                self.errors.append(repr(error))


def serial(bundle: str) -> str:
    shown = must("docker", "exec", SERVER, "openssl", "x509", "-noout", "-serial", "-in", f"/etc/temporal/published/{bundle}/temporal-client.crt")
    return shown.strip().removeprefix("serial=").lower()


def last_calls() -> dict[str, dict]:
    """Who each container was with its last call, found by its address."""
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    containers = {inspect(container, address): container for container in CONTAINERS}
    lines = bash(SERVER, "tail -n 400 /var/log/temporal/audit.jsonl").stdout.splitlines()
    calls = [json.loads(line) for line in lines if '"writer":"gateway"' in line]
    return {containers[ip]: call["principal"] for call in calls if (ip := call["peer"].rsplit(":", 1)[0]) in containers}


def followed(since: float, serials: dict[str, str]) -> bool:
    """Whether the last call of each program came with the new certificate, and a token minted after `since`."""
    last = last_calls()
    for container in CONTAINERS:
        bundle, principal = ("worker" if container.endswith("worker") else "client"), last[container]
        # The first 48 bits of a UUIDv7 are the milliseconds of its making.
        minted = int(principal["jti"].replace("-", "")[:12], 16) / 1000
        assert int(principal["cert_serial"].replace(":", ""), 16) == int(serials[bundle], 16), (container, principal)
        assert minted >= since - 5, (container, principal)
    return True


def test_a_new_ca_new_certificates_and_new_tokens_fail_no_workflow_and_restart_nothing():
    before = {bundle: serial(bundle) for bundle in ("client", "worker")}
    started = {container: inspect(container, "{{.State.StartedAt}}") for container in CONTAINERS}
    long_jobs = {language: start(language, "across everything", delay_seconds=20) for language in LANGUAGES}
    loads = [Load(language) for language in LANGUAGES]
    for load in loads:
        load.start()
    time.sleep(3)
    since = time.time()
    must("docker", "exec", SERVER, "/usr/local/bin/generate-certs.sh", "--rotate-ca")
    must("docker", "exec", SERVER, "/usr/local/bin/generate-jwt-tokens.sh")
    after = {bundle: serial(bundle) for bundle in ("client", "worker")}
    assert set(before.values()).isdisjoint(after.values())
    # Programs that look at their files every five seconds have them; Go takes a certificate with its next connection.
    time.sleep(12)
    for old in before.values():
        must("docker", "exec", SERVER, "temporal-warden", "cert", "revoke", old)
    eventually("every program came with the new certificate and token", lambda: followed(since, after), 60)
    for load in loads:
        assert load.errors == [], load.language
    # The CA before goes, too: what trusts it alone would be out from its next handshake on.
    must("docker", "exec", SERVER, "temporal-warden", "cert", "retire")
    must("docker", "restart", SERVER)
    eventually("the warden is healthy", healthy, 120)
    time.sleep(3)
    for load in loads:
        load.over.set()
        load.join()
    for load in loads:
        assert len(load.jobs) > 20
        for number, job in enumerate(load.jobs):
            assert finished(load.language, job) == f"processed {number}"
        assert finished(load.language, long_jobs[load.language]) == "processed across everything"
        assert finished(load.language, start(load.language, "after all")) == "processed after all"
    assert {container: inspect(container, "{{.State.StartedAt}}") for container in CONTAINERS} == started
    for container in CONTAINERS:
        assert healthy(container), container
