"""What operators do on a running stack: mint, revoke, look into the record, scrape."""

import json
import threading
import time

import grpc
import pytest

from stack import CERTS, SERVER, bash, finished, must, run, start_job

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"


def warden(*arguments: str):
    return run("docker", "exec", SERVER, "temporal-warden", *arguments)


def minted(*arguments: str) -> str:
    token = must("docker", "exec", SERVER, "temporal-warden", "token", "mint", *arguments)
    assert token.count(".") == 2 and not token.endswith("\n"), "one compact token, no line end"
    return token


def channel_with(folder: str) -> grpc.Channel:
    def file(name: str) -> bytes:
        return must("docker", "exec", SERVER, "cat", f"{folder}/{name}").encode()

    credentials = grpc.ssl_channel_credentials(file("ca.crt"), file("temporal-client.key"), file("temporal-client.crt"))
    return grpc.secure_channel("localhost:7233", credentials)


@pytest.fixture(scope="module")
def channel():
    with channel_with(CERTS) as open_channel:
        yield open_channel


def call(channel, method: str, token: str, body: bytes, seconds: float = 20) -> tuple[grpc.StatusCode, str]:
    rpc = channel.unary_unary(SERVICE + method, request_serializer=bytes, response_deserializer=bytes)
    try:
        rpc(body, timeout=seconds, metadata=[("authorization", f"Bearer {token}")])
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def namespace(name: str) -> bytes:
    return b"\x0a" + bytes([len(name)]) + name.encode()


def poll(name: str, queue: str) -> bytes:
    """PollActivityTaskQueueRequest: namespace 1, task_queue 2 { name 1 }."""
    inner = b"\x0a" + bytes([len(queue)]) + queue.encode()
    return namespace(name) + b"\x12" + bytes([len(inner)]) + inner


def test_a_token_of_one_namespace_reaches_no_other_and_is_not_told_which_exist(channel):
    token = minted("--scope", "temporal-client", "--subject", "billing", "--namespace", "default")
    assert call(channel, "ListWorkflowExecutions", token, namespace("default")) == (grpc.StatusCode.OK, "")
    there, absent = (call(channel, "ListWorkflowExecutions", token, namespace(name)) for name in ("temporal-system", "no-such-one"))
    assert there[0] == absent[0] == grpc.StatusCode.PERMISSION_DENIED
    assert there[1].replace("temporal-system", "X") == absent[1].replace("no-such-one", "X")


def test_a_bound_token_is_worth_nothing_over_another_certificate(channel):
    token = minted("--scope", "temporal-client", "--subject", "bound", "--bind", f"{CERTS}/temporal-client.crt")
    assert call(channel, "ListWorkflowExecutions", token, namespace("default")) == (grpc.StatusCode.OK, "")
    with channel_with("/etc/temporal/published/worker") as other:
        refused = call(other, "ListWorkflowExecutions", token, namespace("default"))
    assert refused[0] == grpc.StatusCode.UNAUTHENTICATED and "bound to another client certificate" in refused[1], refused


def test_a_revoked_subject_is_out_from_the_next_call_on_and_its_open_poll_ends(channel):
    token = minted("--scope", "temporal-worker", "--subject", "stolen-worker", "--ttl", "1h")
    ended: list[tuple[grpc.StatusCode, str]] = []
    polling = threading.Thread(target=lambda: ended.append(call(channel, "PollActivityTaskQueue", token, poll("default", "nobody"), 60)))
    polling.start()
    time.sleep(1)  # by then the poll is open; one that is not is refused at the door, in the same words
    job = start_job("beside a revocation", delay_seconds=2)
    done = warden("token", "revoke", "--subject", "stolen-worker")
    assert done.ok, done.text
    polling.join(20)
    assert ended and ended[0][0] == grpc.StatusCode.UNAUTHENTICATED, ended
    assert call(channel, "PollActivityTaskQueue", token, poll("default", "nobody"))[1].startswith("Unauthorized:")
    assert finished(job) == "processed beside a revocation", "others go on"


def test_inspect_says_what_a_token_may_and_why_not():
    said = warden("token", "inspect", f"{CERTS}/client-token.jwt", "--can", "StartWorkflowExecution")
    assert said.ok, said.text
    refused = warden("token", "inspect", f"{CERTS}/client-token.jwt", "--can", "RegisterNamespace")
    assert refused.returncode == 1
    assert "temporal-system" in refused.text


def test_the_record_is_whole_and_shows_who_was_refused():
    bash(SERVER, f"temporal namespace create not-for-clients-either --auth-token-file {CERTS}/client-token.jwt")
    whole = warden("audit", "verify")
    assert whole.ok, whole.text
    denied = warden("audit", "tail", "--decision", "deny", "--method", "RegisterNamespace", "--json", "-n", "1")
    record = json.loads(denied.stdout)
    assert record["principal"]["sub"] == "temporal-client" and record["reason"].startswith("Forbidden:")
    report = json.loads(warden("audit", "report", "--since", "1h", "--json").stdout)
    refused = [row for row in report["denied"] if (row["who"], row["method"]) == ("temporal-client", "RegisterNamespace")]
    assert refused and refused[0]["count"] >= 1 and refused[0]["reason"] == record["reason"]
    assert any(row["method"] == "StartWorkflowExecution" for row in report["allowed"]), report["allowed"]
    acts = warden("audit", "tail", "--json", "-n", "1000").stdout
    assert '"service":"warden"' in acts and "stolen-worker" in acts


def test_the_metrics_count_calls_and_show_when_certificates_end():
    shown = bash(SERVER, "curl -s http://127.0.0.1:9464/metrics").stdout
    for name in ("ListWorkflowExecutions", "temporal-client", "expir"):
        assert name in shown, shown[:2000]
