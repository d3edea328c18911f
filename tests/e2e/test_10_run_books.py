"""The run-books of docs/operations.md that take the stack apart, walked as they are written. The very last."""

import os
from collections.abc import Iterator
from pathlib import Path

import guide
import pytest
from dependents import postgres_serial, published_serial, settled, warden
from stack import APP, CERTS, ROOT, SERVER, WORKER, api, bash, eventually, finished, healthy, must, start_job

OWN_CA = "own-ca.yml"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """The run-books write into the folder of the compose file."""
    before = set(ROOT.iterdir())
    yield
    for path in set(ROOT.iterdir()) - before:
        if path.is_file():
            path.unlink()


def walk(block: str) -> str:
    """Run a code block where the compose file is, as a person pastes it; the first failure ends it."""
    script = block
    if compose := os.environ.get("DOCKER_COMPOSE"):
        script = script.replace("docker-compose -f", f"{compose} -f")
    return must("bash", "-euo", "pipefail", "-c", script, seconds=300)


def all_healthy() -> None:
    for container in (SERVER, APP, WORKER):
        eventually(f"{container} is healthy", lambda name=container: healthy(name), seconds=120)


def test_a_backup_brings_ca_tokens_and_workflows_back_after_both_volumes_were_lost():
    back_up, restore = guide.blocks("Back up and restore", page=guide.OPERATIONS)
    done, running = start_job("done before the backup"), start_job("running at the backup", delay_seconds=30)
    assert finished(done) == "processed done before the backup"
    keys = f"cd {CERTS} && cat ca.crt client-token.jwt postgres-password"
    before = bash(SERVER, keys).stdout
    walk(back_up)
    lost = start_job("after the backup")
    walk(restore)
    all_healthy()
    assert bash(SERVER, keys).stdout == before
    assert api(f"/jobs/{done}")["result"] == "processed done before the backup"
    assert finished(running) == "processed running at the backup"
    with pytest.raises(Exception, match="404"):
        api(f"/jobs/{lost}")
    assert finished(start_job("after the restore")) == "processed after the restore"


def test_the_move_to_an_own_ca_at_once_leaves_everybody_with_a_certificate_of_it():
    (change,) = guide.blocks("Move to your own CA at once", page=guide.OPERATIONS)
    (ROOT / OWN_CA).write_text(guide.blocks("Move to your own CA at once", "yaml", guide.OPERATIONS)[0])
    make_ca(ROOT / "own-ca.crt", ROOT / "own-ca.key")
    # Where there is an overlap; refused where there is none.
    warden("cert", "retire")
    walk(change)
    all_healthy()
    eventually("PostgreSQL serves the new certificate", lambda: postgres_serial() == published_serial(), seconds=60)
    assert bash(SERVER, f"cat {CERTS}/ca.crt").stdout.split() == (ROOT / "own-ca.crt").read_text().split()
    assert finished(start_job("by the own CA at once")) == "processed by the own CA at once"


def test_what_was_in_a_lost_volume_of_certificates_is_made_anew_and_no_workflow_is_lost():
    (anew,) = guide.blocks("A volume is lost", page=guide.OPERATIONS)
    before, done = bash(SERVER, f"cat {CERTS}/ca.crt").stdout, start_job("before the loss")
    assert finished(done) == "processed before the loss"
    walk("docker-compose -f docker-compose.prod.yml down")
    must("docker", "volume", "rm", *must("docker", "volume", "ls", "-q", "--filter", "name=_temporal_certs").split())
    walk(anew)
    all_healthy()
    assert bash(SERVER, f"cat {CERTS}/ca.crt").stdout != before
    assert api(f"/jobs/{done}")["result"] == "processed before the loss"
    assert finished(start_job("after the loss")) == "processed after the loss"


def test_the_move_to_an_own_ca_whose_key_stays_outside_cuts_nobody_off():
    trust, sign, change, end = guide.blocks("Move to your own CA", page=guide.OPERATIONS)
    (ROOT / OWN_CA).write_text(guide.blocks("Move to your own CA", "yaml", guide.OPERATIONS)[0])
    make_ca(ROOT / "my-ca.crt", ROOT / "my-ca.key")
    (ROOT / "my-root.crt").write_bytes((ROOT / "my-ca.crt").read_bytes())
    for step, block in {"trusted": trust, "signed": sign, "changed": change}.items():
        job = start_job(f"while it is {step}", delay_seconds=2)
        walk(block)
        all_healthy()
        assert finished(job) == f"processed while it is {step}"
    settled()
    assert postgres_serial() == published_serial()
    walk(end)
    all_healthy()
    assert finished(start_job("by the own CA")) == "processed by the own CA"
    assert postgres_serial() == published_serial()
    # Whoever trusts the own CA alone connects, and there is no other and no key any more.
    assert bash(SERVER, f"cat {CERTS}/ca.crt").stdout.split() == (ROOT / "my-ca.crt").read_text().split()
    served = bash(SERVER, f"echo | openssl s_client -connect localhost:7233 -cert {CERTS}/temporal-client.crt -key {CERTS}/temporal-client.key -CAfile {CERTS}/ca.crt 2>&1").stdout
    assert "Verify return code: 0 (ok)" in served, served
    assert not bash(SERVER, f"test -e {CERTS}/ca.key").ok
    assert "CA key is absent" in warden("cert", "generate").text


def make_ca(certificate: Path, key: Path) -> None:
    """A root of the user's own, by openssl."""
    extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=Own Root"]
    for extension in extensions:
        command += ["-addext", extension]
    must(*command, "-keyout", key, "-out", certificate)
