"""The web UI for people who log in, without Docker: the warden with Temporal on SQLite, Temporal's UI server, an OpenID Connect
provider from PyPI (oidc-provider-mock) and headless Chromium.

    WARDEN_BIN=… TEMPORAL_SERVER_BIN=… TEMPORAL_SQL_TOOL_BIN=… TEMPORAL_CLI_BIN=… UI_BIN=… python3 tests/e2e/ui_oidc.py

Not collected by pytest: it starts Temporal on this machine, whose ports are fixed. scripts/test.sh runs it. UI_CONFIG is the folder that
has config/docker.yaml of the UI server.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
FOLDER = Path(tempfile.mkdtemp(prefix="ui-oidc-"))
PICTURES = Path(os.environ.get("PICTURES", "target/test/ui"))
PEOPLE = {"ada": ["temporal-operators"], "bob": ["temporal-viewers"]}


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


DOOR, PROVIDER, UI = port(), port(), port()
ISSUER, PAGES = f"http://127.0.0.1:{PROVIDER}", f"http://127.0.0.1:{UI}"
running: list[subprocess.Popen] = []


def start(name: str, command: list[str], environment: dict[str, str], folder: Path = FOLDER) -> None:
    log = (FOLDER / f"{name}.log").open("w")
    running.append(subprocess.Popen(command, env=ENVIRONMENT | environment, cwd=folder, stdout=log, stderr=log))


def eventually(what: str, done, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if done():
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds} s")


def settings() -> dict[str, str]:
    policy = FOLDER / "policy.toml"
    policy.write_text(f'[[allow]]\nscope = "temporal-client"\nissuer = "{ISSUER}"\ngroup = ["cluster-read", "nexus-read"]\n')
    programs = {}
    for variable, name in [("TEMPORAL_SERVER_BIN", "server"), ("TEMPORAL_SQL_TOOL_BIN", "sql"), ("TEMPORAL_CLI_BIN", "cli")]:
        # Temporal runs as its own user, which can't reach into a home folder of root's.
        programs[name] = shutil.copy(os.environ[variable], FOLDER / name)
    data = FOLDER / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, 1000, 1000)
    FOLDER.chmod(0o755)
    return {
        "DB": "sqlite",
        "LOG_LEVEL": "error",
        "WARDEN_LISTEN": f"127.0.0.1:{DOOR}",
        "WARDEN_METRICS_LISTEN": "off",
        "WARDEN_RUNTIME_DIR": str(FOLDER / "run"),
        "WARDEN_CERTS_DIR": str(FOLDER / "certs"),
        "WARDEN_PUBLISH_DIR": str(FOLDER / "published"),
        "WARDEN_DATA_DIR": str(data),
        "WARDEN_AUDIT_FILE": str(FOLDER / "audit/audit.jsonl"),
        "WARDEN_TEMPORAL_SERVER": programs["server"],
        "WARDEN_TEMPORAL_SQL_TOOL": programs["sql"],
        "WARDEN_TEMPORAL_CLI": programs["cli"],
        "WARDEN_POLICY_FILE": str(policy),
        "WARDEN_EXTERNAL_ISSUER": ISSUER,
        "WARDEN_EXTERNAL_AUDIENCE": "temporal-ui",
        "WARDEN_EXTERNAL_SCOPES": "temporal-operators=temporal-client,temporal-viewers=temporal-client:read",
        # Names of the claims that the provider puts into its ID tokens.
        "WARDEN_EXTERNAL_SUBJECT_CLAIM": "sub",
        "WARDEN_EXTERNAL_SCOPE_CLAIM": "groups",
    }


def serve() -> dict[str, str]:
    claims = [json.dumps({"sub": name, "email": f"{name}@example.com", "groups": groups}) for name, groups in PEOPLE.items()]
    users = [word for claim in claims for word in ("--user-claims", claim)]
    start("provider", [sys.executable, "-m", "oidc_provider_mock", "--port", str(PROVIDER), *users], {})
    configuration = f"{ISSUER}/.well-known/openid-configuration"
    eventually("the provider answers", lambda: urllib.request.urlopen(configuration).status == 200)
    warden = settings()
    binary = os.environ["WARDEN_BIN"]
    start("warden", [binary, "run"], warden)
    healthy = lambda: subprocess.run([binary, "healthcheck"], env=ENVIRONMENT | warden, capture_output=True).returncode == 0
    eventually("the warden serves", healthy)
    certs = FOLDER / "certs"
    start("ui", [os.environ["UI_BIN"], "--env", "docker", "start"], {
        "TEMPORAL_ADDRESS": f"127.0.0.1:{DOOR}",
        "TEMPORAL_UI_PORT": str(UI),
        "TEMPORAL_TLS_CA": str(certs / "ca.crt"),
        "TEMPORAL_TLS_CERT": str(certs / "temporal-client.crt"),
        "TEMPORAL_TLS_KEY": str(certs / "temporal-client.key"),
        "TEMPORAL_TLS_ENABLE_HOST_VERIFICATION": "true",
        "TEMPORAL_CORS_ORIGINS": PAGES,
        "TEMPORAL_CSRF_COOKIE_INSECURE": "true",
        "TEMPORAL_DISABLE_NEWS_FETCH": "true",
        "TEMPORAL_AUTH_ENABLED": "true",
        "TEMPORAL_AUTH_PROVIDER_URL": ISSUER,
        "TEMPORAL_AUTH_CLIENT_ID": "temporal-ui",
        "TEMPORAL_AUTH_CLIENT_SECRET": "secret",
        "TEMPORAL_AUTH_CALLBACK_URL": f"{PAGES}/auth/sso/callback",
        "TEMPORAL_AUTH_SCOPES": "openid,profile,email",
        "TEMPORAL_AUTH_USE_ID_TOKEN_AS_BEARER": "true",
    }, Path(os.environ["UI_CONFIG"]))
    eventually("the UI answers", lambda: urllib.request.urlopen(f"{PAGES}/healthz").status == 200)
    return warden


def records(**wanted: str) -> list[dict]:
    lines = [json.loads(line) for line in (FOLDER / "audit/audit.jsonl").read_text().splitlines()]
    return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]


def log_in(page: Page, name: str) -> None:
    page.goto(PAGES, wait_until="domcontentloaded")
    page.get_by_text("Continue to SSO").first.click()
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_url(f"{PAGES}/**")


def start_workflow(warden: dict[str, str], name: str) -> None:
    certs = FOLDER / "certs"
    token = (certs / "client-token.jwt").read_text()
    subprocess.run(
        [warden["WARDEN_TEMPORAL_CLI"], "workflow", "start", "--task-queue", "q", "--type", "T", "--workflow-id", name,
         "--address", f"127.0.0.1:{DOOR}", "--tls-ca-path", certs / "ca.crt", "--tls-cert-path", certs / "temporal-client.crt",
         "--tls-key-path", certs / "temporal-client.key", "--grpc-meta", f"authorization=Bearer {token}"],
        check=True, env=ENVIRONMENT | {"HOME": str(FOLDER)}, capture_output=True,
    )


def try_out(page: Page, name: str, workflow: str, may: bool) -> None:
    log_in(page, name)
    page.goto(f"{PAGES}/namespaces/default/workflows", wait_until="domcontentloaded")
    page.get_by_text(workflow).first.wait_for()
    page.screenshot(path=PICTURES / f"oidc-{name}-list.png")
    page.get_by_role("link", name=workflow).first.click()
    page.get_by_text("More Actions").locator("visible=true").first.click()
    page.get_by_role("menuitem", name="Terminate").first.click()
    page.locator("dialog[open]").get_by_role("button", name="Terminate", exact=True).click()
    decision = "allow" if may else "deny"
    mine = lambda: [r for r in records(method="TerminateWorkflowExecution", decision=decision) if r["principal"].get("sub") == name]
    eventually(f"{name}'s {decision} is on record", lambda: mine(), 60)
    if not may:
        page.get_by_text("may not call").first.wait_for()
    page.screenshot(path=PICTURES / f"oidc-{name}-terminate.png")
    record = mine()[-1]
    assert record["principal"]["iss"] == ISSUER and record["grpc_status"] == (0 if may else 7), record
    print(f"{name}: {decision} as {record['principal']['scope']}: {record.get('reason', '')}")


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    warden = serve()
    start_workflow(warden, "seen-by-people")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, may in [("bob", False), ("ada", True)]:
            context = browser.new_context(viewport={"width": 1400, "height": 900})
            context.set_default_timeout(60_000)
            page = context.new_page()
            try:
                try_out(page, name, "seen-by-people", may)
            except Exception:
                page.screenshot(path=PICTURES / "oidc-failed.png")
                print(page.url, page.locator("body").inner_text()[:1500])
                raise
        browser.close()


try:
    main()
except BaseException:
    for log in FOLDER.glob("*.log"):
        print(f"--- {log.name}", log.read_text()[-2500:], sep="\n")
    raise
finally:
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    shutil.rmtree(FOLDER, ignore_errors=True)
