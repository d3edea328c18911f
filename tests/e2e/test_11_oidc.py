"""deploy/ui/oidc.yml on the production stack: people log in at a provider, through the front, with a browser (docs/identity.md).

Last, because it makes the server anew with other settings. The provider is a container whose certificate is of a CA of its own.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from stack import KEEP, ROOT, SERVER, bash, eventually, finished, healthy, inspect, must, run, start_job

FRONT, UI, PROVIDER = "app_data_ui_front", "app_data_temporal_ui", "app_data_oidc_provider"
ISSUER, URL = "https://id.example.com:9443", "https://localhost:8443"
BASE = [os.environ.get("DOCKER_COMPOSE", "docker-compose"), "-f", "docker-compose.prod.yml"]
COMPOSE = [*BASE, "-f", "deploy/ui/oidc.yml", "-f", "tests/e2e/oidc/provider.yml", "--profile", "ui"]
PICTURES = Path(os.environ.get("SCREENSHOTS", ROOT / "target/test/ui"))
# As sub of the provider; the records have the other name (OIDC_SUBJECT_CLAIM).
ADA, BOB, EVE = "71-ada", "72-bob", "73-eve"


def authority(folder: Path) -> None:
    """A CA that nobody else trusts, and the provider's certificate of it."""
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    must("bash", "-c", f"""cd {folder} && umask 022 &&
        openssl req -x509 {new} -days 2 -subj /CN=id-ca -keyout ca.key -out ca.crt &&
        openssl req -x509 {new} -days 2 -subj /CN=id.example.com -addext subjectAltName=DNS:id.example.com \
            -addext basicConstraints=critical,CA:FALSE -CA ca.crt -CAkey ca.key -keyout tls.key -out tls.crt""")


def policy() -> str:
    """The shipped one with the rule for people taken in, as the page says."""
    rest, _, rule = (ROOT / "deploy/temporal/policy.toml").read_text().partition("# [[allow]]")
    rule = "[[allow]]" + rule.replace("\n# ", "\n")
    assert 'issuer = "https://id.example.com/realms/main"' in rule
    return rest + rule.replace("https://id.example.com/realms/main", ISSUER)


def up(*services: str, **settings: str) -> None:
    """As the page says: settings by the environment, then `up -d`."""
    os.environ.update(settings)
    must(*COMPOSE, "up", "-d", "--no-build", *services, seconds=300)
    eventually("all are healthy", lambda: healthy() and healthy(FRONT), 180)


@pytest.fixture(scope="module", autouse=True)
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    must("scripts/dev/images.sh", "ui", seconds=1200)
    must("scripts/dev/install.sh", "browser", seconds=600)
    must("docker", "build", "-q", "-t", "temporal-warden-oidc-provider:latest", "tests/e2e/oidc", seconds=300)
    folder, before = tmp_path_factory.mktemp("oidc"), dict(os.environ)
    authority(folder)
    (folder / "policy.toml").write_text(policy())
    up(
        "oidc_provider", "temporal", "ui", "ui_front",
        PROVIDER_FOLDER=str(folder),
        OIDC_ISSUER=ISSUER,
        OIDC_CLIENT_SECRET="secret",
        OIDC_SCOPES="temporal-operators=temporal-client,temporal-viewers=temporal-client:read",
        OIDC_SUBJECT_CLAIM="preferred_username",
        OIDC_CA=str(folder / "ca.crt"),
    )
    yield
    must("docker", "rm", "--force", UI, FRONT, PROVIDER)
    os.environ.clear()
    os.environ.update(before)
    if KEEP:
        must(*BASE, "up", "-d", "--no-build", "temporal", seconds=300)
        eventually("the server is as before", healthy, 180)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP id.example.com 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


def visit(page: Page, url: str, text: str) -> None:
    """Until the page shows the text: to Chromium a container that starts or ends beside it is a change of network, for which it
    drops what it is loading (net::ERR_NETWORK_CHANGED)."""
    for last in (False, False, False, True):
        page.goto(url, wait_until="domcontentloaded")
        try:
            return page.get_by_text(text).first.wait_for(timeout=60_000 if last else 10_000)
        except TimeoutError:
            if last:
                raise


def log_in(browser: Browser, name: str) -> Page:
    """A person with a browser of their own, who was sent to the provider and back."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    page = context.new_page()
    try:
        visit(page, URL, "Continue to SSO")
        page.get_by_text("Continue to SSO").first.click()
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_url(f"{URL}/**")
    except Exception:
        picture(page, "failed")
        raise AssertionError(f"no login: {page.url} shows {page.locator('body').inner_text()[:1500]}") from None
    return page


@pytest.fixture(scope="module")
def ada(browser: Browser) -> Page:
    return log_in(browser, ADA)


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"oidc-{name}.png")


def records(name: str, *filters: str) -> list[dict]:
    lines = must("docker", "exec", SERVER, "temporal-warden", "audit", "tail", "--principal", name, "--json", *filters)
    return [json.loads(line) for line in lines.splitlines()]


def show_list(page: Page, job: str) -> None:
    visit(page, f"{URL}/namespaces/default/workflows", job)


def terminate(page: Page, job: str) -> None:
    show_list(page, job)
    page.get_by_role("link", name=job).first.click()
    page.get_by_text("More Actions").locator("visible=true").first.click()
    page.get_by_role("menuitem", name="Terminate").first.click()
    page.locator("dialog[open]").get_by_role("button", name="Terminate", exact=True).click()


def decided(name: str, decision: str) -> dict:
    """The record of the person's attempt to terminate."""
    found = lambda: records(name, "--method", "TerminateWorkflowExecution", "--decision", decision)  # noqa: E731
    return eventually(f"{name}'s {decision} is on record", found, 60)[-1]


def test_the_front_asks_for_no_password_and_gives_nothing_without_a_login():
    status = lambda path: must("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", URL + path)  # noqa: E731
    eventually("the front shows the page for the login", lambda: status("/") == "200")
    assert "www-authenticate" not in must("curl", "-ski", URL).lower()
    assert status("/api/v1/namespaces") == "401"
    assert run("docker", "exec", FRONT, "test", "-e", "/run/front/users", "-a", "!", "-s", "/run/front/users").ok, "no password at all"


def test_the_keys_of_the_provider_came_by_its_own_ca():
    eventually("the gateway has the keys", lambda: ISSUER in must("docker", "exec", SERVER, "temporal-warden", "status"), 60)
    untrusted = f"curl -sS {ISSUER}/jwks"
    assert "certificate" in bash("app_data_fastapi_app", untrusted).text, "nobody else trusts that CA"


def test_an_operator_sees_the_list_and_ends_a_workflow(ada):
    job = start_job("ended by a person", delay_seconds=300)
    show_list(ada, job)
    picture(ada, "list")
    terminate(ada, job)
    ada.get_by_text("Terminated").first.wait_for()
    picture(ada, "terminated")
    record = decided("ada", "allow")
    assert (record["principal"]["iss"], record["principal"]["scope"]) == (ISSUER, "temporal-client") and record["grpc_status"] == 0


def test_what_each_page_reads_is_open_to_people(ada):
    refused = []
    ada.on("response", lambda answer: refused.append((answer.status, answer.url)) if answer.status >= 400 else None)
    for path in ("namespaces", "nexus", "namespaces/default/schedules"):
        ada.goto(f"{URL}/{path}", wait_until="networkidle")
    assert not refused, refused


def test_a_viewer_sees_the_list_and_that_they_may_not_end_one(browser):
    job = start_job("not ended by a viewer", delay_seconds=300)
    page = log_in(browser, BOB)
    terminate(page, job)
    page.get_by_text("may not call").first.wait_for()
    picture(page, "denied")
    record = decided("bob", "deny")
    assert (record["principal"]["iss"], record["principal"]["scope"]) == (ISSUER, "temporal-client:read") and record["grpc_status"] == 7
    assert not records("bob", "--method", "TerminateWorkflowExecution", "--decision", "allow")


def test_who_is_in_no_mapped_group_is_asked_to_log_in_again_and_the_record_says_why(browser):
    """So the UI answers a 403 to what each of its pages reads; docs/identity.md says what it means."""
    page = log_in(browser, EVE)
    record = eventually("eve is on record", lambda: records("eve", "--decision", "deny"), 60)[-1]
    assert record["principal"]["iss"] == ISSUER and "no value of its token is mapped" in record["reason"], record
    page.get_by_text("Continue to SSO").first.wait_for()
    picture(page, "no-group")
    assert not records("eve", "--decision", "allow")


def test_a_restart_of_the_server_needs_no_new_login(ada):
    must("docker", "restart", "--time", "45", SERVER, seconds=180)
    eventually("the server is healthy", healthy, 180)
    job = start_job("after the restart")
    finished(job)
    show_list(ada, job)
    eventually("ada's calls are answered", lambda: records("ada", "--since", "1m", "--decision", "allow"))


def test_while_the_provider_is_away_people_go_on(ada):
    must("docker", "stop", "--time", "1", PROVIDER)
    job = start_job("without the provider", delay_seconds=300)
    terminate(ada, job)
    ada.get_by_text("Terminated").first.wait_for()
    assert inspect(UI, "{{.State.Running}}") == "true"
    must("docker", "start", PROVIDER)


def test_with_id_tokens_it_is_the_same(browser):
    """For a provider whose access tokens are opaque; the overlay's other way."""
    began = time.time()
    up("temporal", "ui", "ui_front", OIDC_USE_ID_TOKEN="true", OIDC_AUDIENCE="temporal-ui", UI_NAME="temporal.example.com")
    eventually("the UI answers", lambda: run("curl", "-skf", f"{URL}/healthz").ok)
    job = start_job("seen by an ID token")
    finished(job)
    show_list(log_in(browser, ADA), job)
    since = f"{int(time.time() - began) + 1}s"
    assert records("ada", "--since", since, "--method", "ListWorkflowExecutions", "--decision", "allow")


def test_the_fronts_own_certificate_follows_the_name_that_people_use():
    """It was made for localhost, and the one before stays in the volume."""
    checked = must("docker", "exec", FRONT, "openssl", "x509", "-in", "/run/front/tls.crt", "-noout", "-checkhost", "temporal.example.com")
    assert "does match" in checked, checked
