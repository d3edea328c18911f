"""Who can reach what: networks, the database, processes, the image, and the record of it all."""

import json
from pathlib import Path

from stack import APP, CERTS, POSTGRES, ROOT, SERVER, STACK, WORKER, bash, eventually, inspect, must, python, run

OWN_DOOR = 7233


def open_ports(container: str, host: str) -> list[int]:
    """Every TCP port of a host that a container can connect to."""
    program = f"""
import asyncio, json
limit = asyncio.Semaphore(400)
async def probe(port):
    async with limit:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection("{host}", port), 3)
        except (OSError, asyncio.TimeoutError):
            return None
        writer.close()
        return port
async def main():
    found = await asyncio.gather(*(probe(port) for port in range(1, 65536)))
    print(json.dumps([port for port in found if port]))
asyncio.run(main())
"""
    done = python(container, program)
    assert done.ok, done.text
    return json.loads(done.stdout)


def address(container: str, network: str) -> str:
    networks = json.loads(inspect(container, "{{json .NetworkSettings.Networks}}"))
    return next(n["IPAddress"] for name, n in networks.items() if name.endswith(network))


def test_nothing_but_the_gateway_is_reachable_from_another_container():
    assert open_ports(APP, address(SERVER, "_app")) == [OWN_DOOR]


def test_applications_neither_know_nor_reach_the_database():
    for container in (APP, WORKER):
        assert not bash(container, "getent hosts postgres").ok
        for target in (address(POSTGRES, "_database"), address(SERVER, "_database")):
            assert not bash(container, f"timeout 3 bash -c 'exec 3<>/dev/tcp/{target}/5432'").ok


def test_the_database_network_leads_nowhere_else():
    assert list(json.loads(inspect(POSTGRES, "{{json .NetworkSettings.Networks}}"))) == [
        name for name in json.loads(inspect(SERVER, "{{json .NetworkSettings.Networks}}")) if name.endswith("_database")
    ]
    assert json.loads(inspect(POSTGRES, "{{json .NetworkSettings.Ports}}")).get("5432/tcp") is None


def psql(sslmode: str, password: str = f"$(cat {CERTS}/password)"):
    return bash(
        POSTGRES,
        f'PGPASSWORD="{password}" psql -tA "host=postgres user=temporal dbname=temporal sslmode={sslmode} sslrootcert={CERTS}/ca.crt" '
        "-c 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'",
    )


def test_the_database_speaks_verified_tls():
    done = psql("verify-full")
    assert done.ok, done.text
    assert done.stdout.strip() == "t"


def test_plain_tcp_to_the_database_is_refused():
    done = psql("disable")
    assert not done.ok
    assert "no encryption" in done.text


def test_a_wrong_database_password_is_refused():
    assert "password authentication failed" in psql("verify-full", "wrong").text


def test_every_connection_of_temporal_to_the_database_is_encrypted():
    counts = must(
        "docker", "exec", POSTGRES, "psql", "-U", "temporal", "-tA", "-c",
        "select ssl, count(*) from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null group by ssl",
    )  # fmt: skip
    assert counts.startswith("t|"), counts
    assert "f|" not in counts


def processes() -> dict[str, list[tuple[str, str]]]:
    """Command name → (uid, effective capabilities) of each process of the server container."""
    lines = bash(SERVER, "for p in /proc/[0-9]*; do awk '/^(Name|Uid|CapEff):/ {print $2}' $p/status | xargs; tr '\\0' ' ' <$p/cmdline; echo; done").stdout
    found: dict[str, list[tuple[str, str]]] = {}
    for status, command in zip(lines.splitlines()[::2], lines.splitlines()[1::2]):
        _, uid, capabilities = status.split()
        words = command.split()
        name = "gateway" if "gateway" in words[:3] else words[0].rsplit("/", 1)[-1] if words else ""
        found.setdefault(name, []).append((uid, capabilities))
    return found


def test_only_pid_1_is_root_and_it_keeps_four_capabilities():
    seen = processes()
    assert seen["temporal-server"] == [("1000", "0000000000000000")]
    assert seen["gateway"] == [("7233", "0000000000000000")]
    # CHOWN 0, SETGID 6, SETUID 7, KILL 5
    assert ("0", "00000000000000e1") in seen["temporal-warden"]


def test_the_table_in_the_docs_is_what_the_kernel_says_of_this_container():
    page = (ROOT / "docs/security.md").read_text()
    shown = page.split("<!-- Made by scripts/privileges.sh -->\n")[1].split("<!-- end -->")[0]
    assert must(ROOT / "scripts/privileges.sh", SERVER) == shown, "put the output of scripts/privileges.sh there"


def test_what_the_program_relocated_at_its_start_is_read_only():
    rows = [row.split() for row in must("docker", "top", SERVER, "-eo", "pid,args").splitlines()[1:]]
    # Not the health check, which comes and goes.
    ours = [pid for pid, program, *arguments in rows if program.endswith("/temporal-warden") and arguments[:1] in (["run"], ["gateway"])]
    assert len(ours) == 2, rows
    for pid in ours:
        lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith("/temporal-warden")]
        # Headers, code, constants, relocated constants, variables.
        assert [line[1] for line in lines] == ["r--p", "r-xp", "r--p", "r--p", "rw-p"], lines


def test_neither_temporal_nor_the_gateway_can_read_the_keys():
    for uid in (1000, 7233):
        for file in (f"{CERTS}/ca.key", f"{CERTS}/temporal-jwt-private.key", "/etc/temporal/published/client/client-token.jwt"):
            assert not run("docker", "exec", "--user", f"{uid}:{uid}", SERVER, "cat", file).ok, (uid, file)


def test_containers_are_hardened():
    for container in (SERVER, POSTGRES, APP, WORKER):
        host = json.loads(inspect(container, "{{json .HostConfig}}"))
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] in (["ALL"], ["CAP_ALL"])
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
        assert host["Memory"] > 0 and host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"]["max-size"]
        assert not host.get("Init"), "the warden is PID 1 itself"
        assert not host["Privileged"]


def test_no_secret_is_in_an_environment_or_an_image_layer():
    secret = must("docker", "exec", SERVER, "cat", f"{CERTS}/postgres-password")
    assert len(secret) >= 20
    for container in (SERVER, POSTGRES, APP, WORKER):
        assert secret not in must("docker", "inspect", container)
    image = inspect(SERVER, "{{.Image}}")
    assert "PRIVATE KEY" not in must("docker", "history", "--no-trunc", image)
    assert must("docker", "run", "--rm", "--entrypoint", "ls", image, "-A", CERTS).strip() == ""


def test_the_image_holds_what_the_guide_uses():
    for tool in ("bash", "curl", "jq", "openssl", "temporal", "temporal-server", "temporal-sql-tool", "generate-certs.sh"):
        assert bash(SERVER, f"command -v {tool}").ok, tool


def test_the_program_is_small_and_needs_no_library():
    assert int(bash(SERVER, "stat -c %s /usr/local/bin/temporal-warden").stdout) <= 12 * 1024 * 1024
    # One that is linked dynamically begins by asking for its interpreter.
    assert not bash(SERVER, "head -c 4096 /usr/local/bin/temporal-warden | grep -aq /lib/ld").ok


def audit() -> list[dict]:
    return [json.loads(line) for line in must("docker", "exec", SERVER, "cat", "/var/log/temporal/audit.jsonl").splitlines()]


def test_each_call_is_in_the_audit_log_with_its_principal():
    before = len(audit())
    bash(SERVER, f"temporal workflow describe -w no-such-workflow --auth-token-file {CERTS}/client-token.jwt")
    bash(SERVER, f"temporal namespace create not-for-clients --auth-token-file {CERTS}/client-token.jwt")
    new = [record for record in audit()[before:] if record.get("user_agent", "").startswith("grpc-go")]
    (described,) = (r for r in new if r["method"] == "DescribeWorkflowExecution")
    (refused,) = (r for r in new if r["method"] == "RegisterNamespace")
    assert (described["decision"], described["grpc_status"]) == ("allow", 5)
    assert (refused["decision"], refused["grpc_status"]) == ("deny", 7)
    assert refused["reason"].startswith("Forbidden:")
    for record in (described, refused):
        assert record["writer"] == "gateway"
        assert (record["principal"]["sub"], record["principal"]["scope"]) == ("temporal-client", "temporal-client")
        assert record["principal"]["cert_serial"]
        assert record["peer"].startswith("127.0.0.1:")


def test_no_token_and_no_key_is_in_a_log():
    logs = run("docker", "logs", SERVER).text + json.dumps(audit())
    assert "eyJ" not in logs, "a token"
    assert "PRIVATE KEY" not in logs
    assert must("docker", "exec", SERVER, "cat", f"{CERTS}/postgres-password") not in logs


def test_health_is_the_wardens_own_answer():
    done = run("docker", "exec", SERVER, "temporal-warden", "healthcheck")
    assert done.ok, done.text
    status = json.loads(must("docker", "exec", SERVER, "temporal-warden", "status", "--json"))
    assert status["serving"] is True


def test_every_service_is_healthy_and_none_was_restarted_on_the_way():
    names = must(STACK, "ps", "-q").split()
    assert len(names) == 5
    for name in names:  # the worker may just be told of new certificates
        eventually(f"{name} is healthy", lambda name=name: inspect(name, "{{.State.Health.Status}} {{.RestartCount}}") == "healthy 0")


def test_the_doctor_finds_nothing_wrong_and_says_what_to_do_where_it_does():
    well = run("docker", "exec", SERVER, "temporal-warden", "doctor", "--address", "temporal:7233")
    assert well.ok, well.text
    assert "0 wrong, 0 to look at" in well.stdout, well.stdout
    nowhere = run("docker", "exec", SERVER, "temporal-warden", "doctor", "--json", "--address", "temporal:7999")
    assert nowhere.returncode == 1
    (bad,) = (f for f in json.loads(nowhere.stdout) if f["verdict"] == "bad")
    assert bad["check"] == "port" and bad["fix"]
