"""examples/monitoring on the production stack: the real Prometheus scrapes, its alerts are quiet, every panel has data."""

import importlib
import json
import os
from collections.abc import Iterator

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard, prometheus

from stack import ROOT, SERVER, eventually, finished, healthy, must, run, start_job

FOLDER = ROOT / "examples/monitoring"
PROMETHEUS = "app_data_prometheus"
COMPOSE = [os.environ.get("DOCKER_COMPOSE", "docker-compose"), "-f", "docker-compose.prod.yml"]
WITH_MONITORING = [*COMPOSE, "-f", "examples/monitoring/docker-compose.yml"]


@pytest.fixture(scope="module", autouse=True)
def monitoring() -> Iterator[None]:
    must("scripts/dev/images.sh", "monitoring", seconds=600)
    must(*WITH_MONITORING, "up", "-d", "--no-build", "temporal", "prometheus", seconds=300)
    eventually("the warden is healthy with its metrics open", healthy, 180)
    for n in range(3):
        finished(start_job(f"monitored {n}"))
    yield
    must(*WITH_MONITORING, "rm", "--stop", "--force", "-v", "prometheus")
    must(*COMPOSE, "up", "-d", "--no-build", "temporal", seconds=300)
    eventually("the warden is healthy again", healthy, 180)
    for kind, name in (("network", "monitoring"), ("volume", "prometheus_data")):
        for found in must("docker", kind, "ls", "-q", "--filter", f"label=com.docker.compose.{kind}={name}").split():
            must("docker", kind, "rm", found)


def query(expression: str) -> list[dict]:
    url = "http://127.0.0.1:9090"
    return json.loads(must("docker", "exec", PROMETHEUS, "promtool", "query", "instant", "-o", "json", url, expression))


def panels() -> list[tuple[str, str]]:
    dashboard = json.loads((FOLDER / "grafana/temporal-warden.json").read_text())
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_rules_fire_on_each_fault_and_are_quiet_otherwise():
    image = must("docker", "inspect", "--format", "{{.Config.Image}}", PROMETHEUS).strip()
    mount = f"{FOLDER}:/rules:ro"
    tested = run("docker", "run", "--rm", "-v", mount, "-w", "/rules", "--entrypoint", "promtool", image, "test", "rules", "alerts_test.yml")
    assert tested.ok and "SUCCESS" in tested.text, tested.text


def test_prometheus_scrapes_the_gateway():
    eventually("a scrape", lambda: [row["value"][1] for row in query('up{job="temporal-warden"}')] == ["1"])
    assert query("temporal_warden_serving")[0]["value"][1] == "1"


def test_every_panel_of_the_dashboard_shows_something():
    assert len(panels()) > 20
    for title, expression in panels():
        eventually(f"data for {title!r}: {expression}", lambda: query(expression))


def lost(raw: object, again: object, path: str = "") -> Iterator[str]:
    """What of a document is not in its second writing, or is different there."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            known = isinstance(again, dict) and key in again
            yield from lost(value, again[key], f"{path}.{key}") if known else [f"{path}.{key}"]
    elif isinstance(raw, list):
        for at, (left, right) in enumerate(zip(raw, again, strict=True)):
            yield from lost(left, right, f"{path}[{at}]")
    elif raw != again:
        yield f"{path}: {raw!r} becomes {again!r}"


def test_the_dashboard_is_what_grafanas_published_types_know_and_nothing_else():
    def unknown(model: type, raw: dict) -> list[str]:
        return list(lost(raw, json.loads(JSONEncoder(sort_keys=True).encode(model.from_json(raw)))))

    board = json.loads((FOLDER / "grafana/temporal-warden.json").read_text())
    assert unknown(dashboard.Dashboard, board) == []
    for panel in board["panels"]:
        options = importlib.import_module(f"grafana_foundation_sdk.models.{panel['type']}").Options
        assert unknown(options, panel["options"]) == [], panel["title"]
        assert [unknown(prometheus.Dataquery, target) for target in panel["targets"]] == [[]] * len(panel["targets"]), panel["title"]


def test_a_healthy_stack_has_no_alert():
    assert query('ALERTS{alertstate="firing"}') == []


def test_the_metrics_are_not_published_outside_docker():
    assert "9464" not in must("docker", "port", SERVER)
