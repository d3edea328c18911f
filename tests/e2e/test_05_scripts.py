"""The files around the image: compose in both dialects, and the quick start."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stack import ROOT, run

COMPOSE_V2 = Path.home() / ".cache/temporal-warden/docker-compose-v2"


def dialects() -> list[list[str]]:
    found = []
    if shutil.which("docker-compose"):
        found.append(["docker-compose"])
    if run("docker", "compose", "version").ok:
        found.append(["docker", "compose"])
    if COMPOSE_V2.exists():
        found.append([str(COMPOSE_V2)])
    return found


@pytest.mark.parametrize("compose", dialects(), ids=" ".join)
def test_the_compose_file_is_accepted_without_a_warning(compose):
    done = run(*compose, "-f", "docker-compose.prod.yml", "config")
    assert done.ok, done.text
    assert done.stderr.strip() == ""
    assert "init:" not in done.stdout


def test_the_quick_start_passes_the_guides_tests_and_stops(tmp_path):
    environment = os.environ | {"QUICKSTART_PORT": "17233", "QUICKSTART_DIR": "/var/tmp/temporal-warden-e2e"}
    shutil.rmtree(environment["QUICKSTART_DIR"], ignore_errors=True)

    def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
        log = tmp_path / "quickstart.log"  # a file: what it leaves running must not hold a pipe of ours open
        with log.open("w") as out:
            done = subprocess.run(
                [ROOT / "scripts/quickstart.sh", *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, timeout=1800
            )
        return subprocess.CompletedProcess(done.args, done.returncode, log.read_text())

    try:
        first = quickstart()
        assert first.returncode == 0, first.stdout
        assert first.stdout.count("✅ pass") == 6
        assert quickstart().returncode == 0, "a second time it uses what runs"
    finally:
        stopped = quickstart("stop")
    assert "stopped" in stopped.stdout
    shutil.rmtree(environment["QUICKSTART_DIR"], ignore_errors=True)
