"""After a rotation PostgreSQL and the labelled services have the new certificates, and nobody did it by hand."""

import time

from dependents import holders, kill_first_process, postgres_serial, published_serial, settled, status, told_since, warden
from stack import APP, CERTS, POSTGRES, SERVER, WORKER, bash, eventually, finished, healthy, inspect, must, run, start_job

GENERATE = ("docker", "exec", SERVER, "/usr/local/bin/generate-certs.sh")
TOKENS = ("docker", "exec", SERVER, "/usr/local/bin/generate-jwt-tokens.sh")
EACH_ONCE = [f"{POSTGRES} kill 1", f"{WORKER} restart"]


def test_a_rotation_reaches_everybody_once_in_order_and_a_second_one_at_once_is_one_row():
    settled()
    old, started, began = postgres_serial(), inspect(POSTGRES, "{{.State.StartedAt}}"), time.time()
    job = start_job("across a rotation and a restart of the worker", delay_seconds=3)
    must(*GENERATE)
    must(*TOKENS)
    settled()
    # The seconds in which a second, needless restart would come.
    time.sleep(4)
    assert told_since(began) == EACH_ONCE
    assert old != postgres_serial() == published_serial(), "asked over TLS, not believed"
    assert inspect(POSTGRES, "{{.State.StartedAt}}") == started, "PostgreSQL is not restarted"
    assert finished(job) == "processed across a rotation and a restart of the worker"
    acts = warden("audit", "tail", "--method", "TellDependents", "-n", "5").stdout
    assert f"{POSTGRES}: signal SIGHUP done, and it is well and serves the current certificate" in acts, acts


def test_status_shows_what_each_service_holds():
    eventually("everybody is seen with the new certificate", lambda: [holders().get(n) for n in (POSTGRES, WORKER, APP)] == ["current"] * 3, seconds=30)
    shown = warden("status").stdout
    assert f"{POSTGRES}          serves the current certificate" in shown, shown
    assert "STILL" not in shown, shown


def test_status_shows_who_still_connects_by_the_ca_before_and_when_nobody_does():
    must(*GENERATE, "--rotate-ca")
    settled()
    uses = eventually("two CAs are trusted", lambda: len(a := status()["authorities"]) == 2 and a)
    assert [use["is"] for use in uses] == ["current", "before"]

    def moved() -> bool:
        current, before = status()["authorities"]
        return not before["connected"] and {WORKER, APP} <= set(current["connected"])

    eventually("everybody has come to the new CA", moved, seconds=60)
    assert postgres_serial() == published_serial()
    assert warden("cert", "retire").ok
    settled()
    assert finished(start_job("after the CA before was retired")) == "processed after the CA before was retired"


def test_postgresql_comes_back_after_a_crash_though_it_was_signalled():
    before = inspect(POSTGRES, "{{.State.StartedAt}}")
    kill_first_process(POSTGRES)
    eventually("PostgreSQL is back", lambda: inspect(POSTGRES, "{{.State.StartedAt}}") != before and healthy(POSTGRES))
    assert eventually("it serves", postgres_serial) == published_serial()
    eventually("the server is healthy", healthy)


def test_a_warden_that_dies_before_it_told_anybody_tells_them_when_it_is_back():
    settled()
    began, started = time.time(), inspect(WORKER, "{{.State.StartedAt}}")
    must(*GENERATE)
    kill_first_process(SERVER)  # within the two seconds in which it waits for more
    assert told_since(began) == []
    eventually("the worker is restarted", lambda: inspect(WORKER, "{{.State.StartedAt}}") != started, seconds=120)
    eventually("the server is healthy", healthy)
    settled()
    assert told_since(began) == EACH_ONCE
    assert postgres_serial() == published_serial()


def test_the_way_to_docker_lets_through_what_is_needed_and_nothing_else():
    def code(verb: str, path: str) -> str:
        how = "-I" if verb == "HEAD" else f"-X {verb}"
        return bash(SERVER, f"curl -s --path-as-is -o /dev/null -w %{{http_code}} {how} http://docker-proxy:2375/{path}").stdout

    for verb, path in [("GET", "version"), ("HEAD", "_ping"), ("GET", "containers/json"), ("GET", f"v1.41/containers/{WORKER}/json")]:
        assert code(verb, path) == "200", path
    for verb, path in [
        ("GET", "images/json"), ("POST", "containers/create"), ("POST", f"containers/{POSTGRES}/exec"), ("GET", f"containers/{POSTGRES}/archive?path=/"),
        ("POST", f"containers/{SERVER}/restart"), ("POST", "containers/app_data_docker_proxy/kill"), ("GET", "containers/other/json"),
        ("GET", f"containers/{WORKER}/../{POSTGRES}/json"), ("POST", f"containers/{WORKER}/stop"),
    ]:  # fmt: skip
        assert code(verb, path) == "403", path
    assert code("DELETE", f"containers/{WORKER}") in ("403", "405")
    # Applications have no way to it at all.
    assert not run("docker", "exec", APP, "curl", "-s", "--max-time", "3", "http://docker-proxy:2375/version").ok
    for key in ("RW", "Source"):
        mount = must("docker", "inspect", "--format", "{{range .Mounts}}{{if eq .Destination \"/var/run/docker.sock\"}}{{." + key + "}}{{end}}{{end}}", "app_data_docker_proxy", SERVER)
        assert mount.split() == ["false" if key == "RW" else "/var/run/docker.sock"], "mounted in the proxy alone, read-only"


def test_without_the_proxy_a_rotation_completes_and_status_and_doctor_say_who_is_behind():
    settled()
    must("docker", "stop", "app_data_docker_proxy")
    try:
        must(*GENERATE)
        eventually("status says that nobody was told", lambda: status()["dependents_pending"])
        assert holders()["PostgreSQL at postgres:5432"] == "before"
        assert "STILL SERVES THE ONE BEFORE" in warden("status").stdout
        found = warden("doctor", "--address", "temporal:7233")
        assert not found.ok and "Docker cannot be reached" in found.text and "start the proxy" in found.text, found.text
    finally:
        must("docker", "start", "app_data_docker_proxy")
    eventually("the proxy is healthy", lambda: healthy("app_data_docker_proxy"))
    must("docker", "exec", SERVER, "temporal-warden", "dependent", "restart")
    settled()
    assert postgres_serial() == published_serial()
    assert bash(SERVER, f"test -s {CERTS}/dependents.json").ok
