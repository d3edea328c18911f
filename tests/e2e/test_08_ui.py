"""Temporal's web UI behind its front (profile `ui`), as a person sees it in a browser."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from stack import ROOT, SERVER, eventually, finished, healthy, must, run, start_job

FRONT, UI = "app_data_ui_front", "app_data_temporal_ui"
URL = "https://127.0.0.1:8443"
COMPOSE = [os.environ.get("DOCKER_COMPOSE", "docker-compose"), "-f", "docker-compose.prod.yml", "--profile", "ui"]
PICTURES = Path(os.environ.get("SCREENSHOTS", ROOT / "target/test/ui"))


@pytest.fixture(scope="module", autouse=True)
def ui() -> Iterator[None]:
    must("scripts/dev/images.sh", "ui", seconds=1200)
    must("scripts/dev/install.sh", "browser", seconds=600)
    must(*COMPOSE, "up", "-d", "--no-build", "ui", "ui_front", seconds=300)
    eventually("the front is healthy", lambda: healthy(FRONT))
    yield
    must(*COMPOSE, "rm", "--stop", "--force", "ui", "ui_front")


@pytest.fixture(scope="module")
def password() -> str:
    return must("docker", "exec", FRONT, "cat", "/data/password").strip()


@pytest.fixture(scope="module")
def page(password: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        login = {"username": "temporal", "password": password}
        context = browser.new_context(ignore_https_errors=True, http_credentials=login, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(90_000)
        yield context.new_page()
        browser.close()


def status(*arguments: str) -> int:
    return int(must("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *arguments))


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"ui-{name}.png")


def records(*filters: str) -> list[dict]:
    lines = must("docker", "exec", SERVER, "temporal-warden", "audit", "tail", "--principal", "temporal-ui", "--json", *filters)
    return [json.loads(line) for line in lines.splitlines()]


def test_without_the_password_nothing_is_shown(password):
    assert status(f"{URL}/") == status("-u", "temporal:wrong", f"{URL}/") == status(f"{URL}/api/v1/namespaces") == 401
    eventually("the UI answers", lambda: status("-u", f"temporal:{password}", f"{URL}/api/v1/namespaces") == 200)


def test_a_guesser_is_slowed_down_and_who_has_the_password_is_not(password):
    def answers(secret: str) -> set[str]:
        url = f"{URL}/api/v1/settings?[1-150]"
        every = ["curl", "-sk", "-Z", "-o", "/dev/null", "-w", "%{http_code}\\n", "-u", f"temporal:{secret}", url]
        return set(must(*every).split())

    assert answers("guess") == {"401", "429"}
    assert answers(password) == {"200"}


def test_another_site_cannot_use_the_password_that_the_browser_sends_by_itself(password):
    url = f"{URL}/api/v1/namespaces/default/workflows/none/terminate"
    change = ["-u", f"temporal:{password}", "-X", "POST", "-d", "{}", url]
    assert status("-H", "origin: https://evil.example", *change) == 403
    assert status("-H", "sec-fetch-site: cross-site", "-H", f"origin: {URL}", *change) == 403
    assert status(*change) == 403, "neither header: not from a browser's page"
    assert status("-H", f"origin: {URL}", *change) == status("-H", "sec-fetch-site: same-origin", *change) == 404


def test_the_list_of_workflows_is_shown(page):
    job = start_job("seen in the UI")
    finished(job)
    page.goto(f"{URL}/", wait_until="domcontentloaded")
    page.get_by_text(job).first.wait_for()
    assert page.url.startswith(f"{URL}/namespaces/default/workflows")
    picture(page, "workflows")


def test_what_each_page_reads_is_open_to_the_ui(page):
    refused = []
    page.on("response", lambda answer: refused.append((answer.status, answer.url)) if answer.status >= 400 else None)
    for path in ("namespaces", "nexus", "namespaces/default/schedules", "namespaces/default/batch-operations"):
        page.goto(f"{URL}/{path}", wait_until="networkidle")
    assert not refused, refused
    assert records("--method", "ListNexusEndpoints", "--decision", "allow"), "the page really asked"


def test_a_denied_action_shows_the_denial(page):
    jobs = [start_job("to be ended", delay_seconds=300) for _ in range(2)]
    page.goto(f"{URL}/namespaces/default/workflows", wait_until="domcontentloaded")
    for job in jobs:
        page.get_by_text(job).first.wait_for()
    # Ending many at once is a batch operation, which the scope temporal-client does not hold.
    page.locator("thead label").first.click()
    page.get_by_role("button", name="Terminate", exact=True).first.click()
    page.locator("dialog[open]").get_by_role("button", name="Terminate", exact=True).click()
    page.get_by_text("may not call").first.wait_for()
    picture(page, "denied")
    denied = records("--decision", "deny", "--method", "StartBatchOperation")[-1]
    assert denied["principal"]["cert_subject"] == "CN=temporal-ui" and denied["grpc_status"] == 7


def test_the_front_takes_a_new_token_without_a_restart(password):
    must("docker", "exec", SERVER, "/usr/local/bin/generate-jwt-tokens.sh")
    eventually("the new token is taken", lambda: "took the new token" in run("docker", "logs", FRONT).text, 40)
    newest = records()[-1]["principal"]["jti"]
    ask = ["-u", f"temporal:{password}", f"{URL}/api/v1/namespaces"]
    eventually("calls carry the new token", lambda: status(*ask) == 200 and records()[-1]["principal"]["jti"] != newest, 30)
