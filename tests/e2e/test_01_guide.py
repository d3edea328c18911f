"""The guide, section by section: its own commands, and what it says to expect."""

import json
import shlex
import time
from concurrent.futures import ThreadPoolExecutor

import guide
from stack import APP, CERTS, SERVER, WORKER, bash, eventually, finished, inspect, must, python, run, start_job


def in_server(command: str):
    return bash(SERVER, command)


# --- Authentication Components -----------------------------------------------------------------------------------


def test_every_file_that_the_guide_lists_is_there():
    listed = [line.split()[1] for line in guide.block("1. TLS Certificates").splitlines() if line[:1] in "├└"]
    assert len(listed) == 8
    for name in listed:
        assert in_server(f"test -s {CERTS}/{name}").ok, name


# --- How to Use: FastAPI, CLI, workers ----------------------------------------------------------------------------


def test_the_guides_client_starts_a_workflow_and_the_worker_container_executes_it():
    program = guide.block("From Your FastAPI Application", "python") + "\nimport asyncio\nprint(asyncio.run(start_my_workflow()))\n"
    done = python(APP, program)
    assert done.ok, done.text
    assert done.stdout.strip() == "processed input-data"


def test_the_guides_worker_executes_what_a_client_starts():
    # "Same as above", with the token that the guide's table gives to workers: the client's may not poll.
    connect = guide.block("From Your FastAPI Application", "python").replace("client-token.jwt", "worker-token.jwt")
    worker = guide.block("From Worker Processes", "python")
    program = f"""
import asyncio
from app.workflows import MyWorkflow, my_activity
{connect}
{worker}
async def main():
    task = asyncio.create_task(start_worker())
    done, _ = await asyncio.wait([task], timeout=12)
    for finished in done:
        finished.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print("polled to the end", flush=True)
asyncio.run(main())
"""
    start = f"""
import asyncio
{guide.block("From Your FastAPI Application", "python").replace('"my-queue"', '"my-task-queue"').replace("workflow-123", "workflow-124")}
print(asyncio.run(start_my_workflow()))
"""
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(python, WORKER, program)
        started = python(APP, start)
        assert started.stdout.strip() == "processed input-data", started.text
        assert polling.result().ok, polling.result().text
        assert "polled to the end" in polling.result().stdout


def test_a_client_token_does_not_poll_for_work():
    connect = guide.block("From Your FastAPI Application", "python")
    program = f"""
import asyncio
{connect}
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.api.taskqueue.v1 import TaskQueue
async def main():
    client = await get_temporal_client()
    request = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="my-queue"))
    try:
        await client.workflow_service.poll_activity_task_queue(request)
    except Exception as error:
        print(error)
asyncio.run(main())
"""
    assert python(APP, program).stdout.startswith("Forbidden:")


def test_the_cli_section_works_inside_the_server_container():
    enter, workflow_list, namespace_create = guide.commands(guide.block("From CLI"))
    assert enter == f"docker exec -it {SERVER} bash"
    listed = in_server(workflow_list)
    assert listed.ok, listed.text
    assert "MyWorkflow" in listed.stdout
    created = in_server(namespace_create)
    assert created.ok, created.text
    assert "my-namespace" in in_server(f"temporal operator namespace list --auth-token-file {CERTS}/system-token.jwt").stdout


def test_the_application_starts_a_job_and_the_worker_executes_it():
    assert finished(start_job("hello")) == "processed hello"


# --- Certificate Management ---------------------------------------------------------------------------------------


def test_the_log_shows_the_generation_of_certificates_and_tokens():
    (command,) = guide.commands(guide.block("Automatic Generation"))
    expected = [line[2:] for line in guide.block("Automatic Generation").splitlines() if "Generating" in line or "✅" in line]
    assert len(expected) == 2
    # `docker logs` gives each stream of the container on its own: the guide's pipe carries standard output.
    shown = run("bash", "-c", command).stdout
    for line in expected:
        assert line in shown
    tokens = run("bash", "-c", f"docker logs {SERVER} | grep -i jwt").stdout
    assert "Generating Temporal JWT tokens..." in tokens
    assert "✅ Temporal JWT tokens generated successfully" in tokens


def serial(file: str) -> str:
    return must("docker", "exec", SERVER, "openssl", "x509", "-noout", "-serial", "-in", f"{CERTS}/{file}")


def test_regeneration_by_hand_gives_new_certificates_and_tokens_and_disturbs_nobody():
    before = serial("temporal-server.crt")
    token = must("docker", "exec", SERVER, "cat", f"{CERTS}/client-token.jwt")
    job = start_job("across a regeneration", delay_seconds=6)
    for command in guide.commands(guide.block("Manual Certificate Regeneration")):
        must(*shlex.split(command))
    assert serial("temporal-server.crt") != before
    assert must("docker", "exec", SERVER, "cat", f"{CERTS}/client-token.jwt") != token
    assert finished(job) == "processed across a regeneration"


def test_applications_get_new_material_from_their_volume_without_a_restart():
    published = must("docker", "exec", SERVER, "cat", "/etc/temporal/published/client/client-token.jwt")
    seen = eventually("new token in the app", lambda: (t := must("docker", "exec", APP, "cat", f"{CERTS}/client-token.jwt")) == published and t)
    assert seen == must("docker", "exec", SERVER, "cat", f"{CERTS}/client-token.jwt")
    started = inspect(APP, "{{.State.StartedAt}}")
    assert finished(start_job("with new material")) == "processed with new material"
    assert inspect(APP, "{{.State.StartedAt}}") == started


# --- Testing Authentication ---------------------------------------------------------------------------------------


def test_1_curl_without_certificates_fails():
    bare, _ = guide.commands(guide.block("Test 1"))
    done = bash(APP, bare)
    assert not done.ok
    assert "SSL certificate problem" in done.text


def test_1_curl_with_certificates_is_served():
    _, with_certificates = guide.commands(guide.block("Test 1"))
    done = run(*shlex.split(with_certificates.replace("\\\n", " ")))
    assert done.ok, done.text
    assert json.loads(done.stdout)["status"] == "SERVING"
    status = run(*shlex.split(with_certificates.replace("\\\n", " ").replace(" curl ", " curl -s -o /dev/null -w %{http_code} ")))
    assert status.stdout == "200"


def test_2_workflow_list_without_a_token_is_unauthorized():
    without, _ = guide.commands(guide.block("Test 2"))
    done = in_server(without)
    assert not done.ok
    assert "Unauthorized" in done.text


def test_2_workflow_list_with_the_client_token_succeeds():
    _, with_token = guide.commands(guide.block("Test 2"))
    done = in_server(with_token)
    assert done.ok, done.text


def test_3_roles_decide():
    listing, by_client, by_system = guide.commands(guide.block("Test 3"))
    assert in_server(listing).ok
    refused = in_server(by_client)
    assert not refused.ok
    for word in ("Forbidden", "temporal-client", "RegisterNamespace", "temporal-system"):
        assert word in refused.text
    created = in_server(by_system)
    assert created.ok, created.text


# --- Troubleshooting ----------------------------------------------------------------------------------------------


def test_certificates_can_be_listed():
    listing, _ = guide.commands(guide.block("Certificate Not Found"))
    shown = must(*shlex.split(listing))
    for name in ("ca.crt", "temporal-server.crt", "system-token.jwt"):
        assert name in shown


def test_the_expiry_of_a_token_is_shown_by_the_guides_own_line():
    regenerate, show = guide.commands(guide.block("JWT Token Expired"))
    must(*shlex.split(regenerate))
    done = run(*shlex.split(show))
    assert int(done.stdout) > time.time() + 24 * 3600
    assert "invalid input" not in done.stderr


def test_the_scope_of_a_token_is_shown_by_the_guides_own_line():
    (show,) = guide.commands(guide.block("Authorization Failed"))
    done = run(*shlex.split(show))
    assert json.loads(done.stdout) == "temporal-client"
    assert "invalid input" not in done.stderr


def test_the_names_in_the_server_certificate_are_those_that_the_guide_promises():
    (show,) = guide.commands(guide.block("TLS Handshake Failed"))
    shown = run("bash", "-c", show).stdout
    for name in ("DNS:temporal", "DNS:temporal-server", "DNS:localhost", f"DNS:{SERVER}", "IP Address:127.0.0.1"):
        assert name in shown.replace("\n", " ")


# --- Around the guide ---------------------------------------------------------------------------------------------


def test_a_certificate_can_be_copied_out(tmp_path):
    for name in ("ca.crt", "temporal-client.key"):
        must("docker", "cp", "-L", f"{SERVER}:{CERTS}/{name}", tmp_path / name)
        assert "-----BEGIN" in (tmp_path / name).read_text()


def test_the_cli_front_keeps_exit_codes_help_and_completion():
    assert in_server("temporal no-such-command").returncode == 1
    assert "temporal" in in_server("temporal --help").stdout
    assert "complete" in in_server("temporal completion bash").stdout
    assert "workflow" in in_server("temporal __complete workf 2>/dev/null").stdout
    alone = in_server("temporal workflow list --auth-plugin jwt")
    assert not alone.ok
    assert "--auth-token-file" in alone.text


def test_the_program_that_the_warden_prints_connects_from_an_application():
    program = must("docker", "exec", SERVER, "temporal-warden", "connect", "python")
    done = python(APP, program)
    assert done.stdout.startswith("connected: "), done.text
    line = must("docker", "exec", SERVER, "temporal-warden", "connect", "cli")
    assert in_server(line).stdout.startswith("Total: ")
