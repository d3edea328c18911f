"""Python SDK clients and workers that never stop calling while everything rotates under them.

Two applications side by side on one task queue. `steady` goes on with the files it found at first, and connects anew with
them all the time: it stands for every application that was not restarted. `fresh` reads its bundle again before each
connection. Most calls are made without the SDK's own retries, so that none can hide a failure.

Prints one JSON document; exit code 1 when a call failed.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import sys
import time
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.client import Client, TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE, ANCHOR = "rotation", "anchor"


@activity.defn
async def double(number: int) -> int:
    return number * 2


@workflow.defn
class Signalled:
    """Waits for a signal, asks an activity."""

    def __init__(self) -> None:
        self.number: int | None = None

    @workflow.signal
    def set(self, number: int) -> None:
        self.number = number

    @workflow.query
    def state(self) -> int | None:
        return self.number

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.number is not None)
        return await workflow.execute_activity(double, self.number, start_to_close_timeout=timedelta(seconds=30))


def bundle(folder: pathlib.Path) -> dict[str, bytes]:
    """One generation, resolved once."""
    generation = (folder / "..data").resolve()
    names = ["ca.crt", "temporal-client.crt", "temporal-client.key", f"{folder.name}-token.jwt"]
    return {name: (generation / name).read_bytes() for name in names}


async def connect(address: str, files: dict[str, bytes]) -> Client:
    token = next(content for name, content in files.items() if name.endswith(".jwt")).decode()
    tls = TLSConfig(
        server_root_ca_cert=files["ca.crt"],
        client_cert=files["temporal-client.crt"],
        client_private_key=files["temporal-client.key"],
        domain="localhost",
    )
    return await Client.connect(address, tls=tls, rpc_metadata={"authorization": f"Bearer {token}"})


class Tally:
    def __init__(self) -> None:
        self.calls: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.begin = time.monotonic()
        # Of each kind: how long, whose, and when.
        self.longest: dict[str, tuple[float, str, float]] = {}

    async def count(self, name: str, call):
        begin = time.monotonic()
        try:
            return await call
        except Exception as error:  # whatever it was, it is what the user would have seen
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            return None
        finally:
            who, kind = name.split()
            self.calls[kind] += 1
            took = time.monotonic() - begin
            self.longest[kind] = max(self.longest.get(kind, (0.0, "", 0.0)), (took, who, begin - self.begin))


class App:
    """A client and a worker with the bundles of one moment, or always those of now."""

    def __init__(self, name: str, args: argparse.Namespace, tally: Tally, fresh: bool) -> None:
        self.name, self.args, self.tally, self.fresh = name, args, tally, fresh
        self.stop = False
        self.tasks: list[asyncio.Task] = []

    async def begin(self) -> None:
        self.files = {name: self.read(name) for name in ("client", "worker")}
        self.client = await connect(self.args.address, self.files["client"])
        self.worker = Worker(
            await connect(self.args.address, self.files["worker"]),
            task_queue=QUEUE,
            workflows=[Signalled],
            activities=[double],
            workflow_runner=UnsandboxedWorkflowRunner(),
            identity=self.name,
        )
        self.running = asyncio.create_task(self.worker.run())
        loops = [self.describe() for _ in range(3)] + [self.whole() for _ in range(2)] + [self.again()]
        self.tasks = [asyncio.create_task(loop) for loop in loops]

    def read(self, name: str) -> dict[str, bytes]:
        return bundle(pathlib.Path(self.args.published) / name)

    async def end_calls(self) -> None:
        self.stop = True
        await asyncio.gather(*self.tasks)

    async def end(self) -> None:
        await self.worker.shutdown()
        await self.running

    async def describe(self) -> None:
        """One call after the other, on whatever connection is the current one."""
        ask = DescribeWorkflowExecutionRequest(namespace="default", execution=WorkflowExecution(workflow_id=ANCHOR))
        while not self.stop:
            call = self.client.workflow_service.describe_workflow_execution(ask, retry=False)
            await self.tally.count(f"{self.name} describe", call)

    async def whole(self) -> None:
        """Workflows from start to result, which need a worker too."""
        while not self.stop:
            client, id, began = self.client, f"{self.name}-{uuid.uuid4()}", time.monotonic()
            handle = client.get_workflow_handle_for(Signalled.run, id)
            await self.tally.count(f"{self.name} start", client.start_workflow(Signalled.run, id=id, task_queue=QUEUE))
            await self.tally.count(f"{self.name} signal", handle.signal(Signalled.set, 21))
            await self.tally.count(f"{self.name} query", handle.query(Signalled.state))
            result = await self.tally.count(f"{self.name} result", handle.result())
            await self.explain(handle, time.monotonic() - began)
            if result != 42:
                self.tally.failures.append(f"{id}: the result is {result}")

    async def explain(self, handle, took: float) -> None:
        """What a workflow waited for: Temporal gives a task to another worker after 10 s when the one that has it is silent."""
        if took < 5:
            return
        ends = []
        async for event in handle.fetch_history_events():
            worker = event.workflow_task_started_event_attributes.identity
            ends.append(f"{event.event_time.ToJsonString()[17:23]} {EventType.Name(event.event_type)[11:]} {worker}".strip())
        now = time.monotonic() - self.tally.begin
        print(f"    {now:5.1f} s: {handle.id} took {took:.1f} s: {', '.join(ends)}", file=sys.stderr)

    async def again(self) -> None:
        """A new connection every second."""
        while not self.stop:
            await asyncio.sleep(1)
            if self.fresh:
                before, self.files = self.files, {name: self.read(name) for name in ("client", "worker")}
                if self.files["worker"] != before["worker"]:
                    worker = await self.tally.count(f"{self.name} connect", connect(self.args.address, self.files["worker"]))
                    if worker:
                        self.worker.client = worker
            client = await self.tally.count(f"{self.name} connect", connect(self.args.address, self.files["client"]))
            self.client = client or self.client


async def command(tally: Tally, *words: str) -> None:
    begin = time.monotonic()
    at = begin - tally.begin
    run = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    said, _ = await run.communicate()
    print(f"    {at:5.1f} s: {' '.join(words)}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
    if run.returncode != 0:
        tally.failures.append(f"{words}: {said.decode()}")


WARDEN = "temporal-warden"
# What goes on together, step by step.
APART = [
    [["generate-certs.sh"]],
    [["generate-jwt-tokens.sh"]],
    [["generate-jwt-tokens.sh", "--rotate-key"]],
    [["generate-certs.sh", "--rotate-ca"]],
    [["generate-certs.sh", "--keep-keys"]],
]
TOGETHER = [
    [[WARDEN, "rotate"], ["generate-certs.sh"], ["generate-jwt-tokens.sh"]],
    [["generate-certs.sh"], ["generate-certs.sh"]],
]


async def phase(args: argparse.Namespace, tally: Tally, steps: list, calls: int) -> None:
    """All steps under two applications, a pause between them, and on until there were enough calls."""
    apps = [App("steady", args, tally, fresh=False), App("fresh", args, tally, fresh=True)]
    for app in apps:
        await app.begin()
    until = tally.calls.total() + calls
    for number, step in enumerate(steps):
        await asyncio.sleep(3)
        await asyncio.gather(*(command(tally, *words) for words in step))
        share = until - calls * (len(steps) - number - 1) // len(steps)
        while tally.calls.total() < share:
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    # Calls first: a workflow that a worker which has ended holds in its cache waits 10 s for another one.
    await asyncio.gather(*(app.end_calls() for app in apps))
    for app in apps:
        await app.end()


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--published", required=True)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rotate", choices=["yes", "no"], default="yes")
    args = parser.parse_args()
    tally, begin = Tally(), time.monotonic()
    first = await connect(args.address, bundle(pathlib.Path(args.published) / "client"))
    await first.start_workflow(Signalled.run, id=ANCHOR, task_queue=QUEUE)
    apart, together = (APART, TOGETHER) if args.rotate == "yes" else ([[] for _ in APART], [[] for _ in TOGETHER])
    await phase(args, tally, apart, args.calls * 5 // 7)
    if args.rotate == "yes":
        # Every application has taken up the new files: what is old may go, and a CA can follow again.
        await command(tally, WARDEN, "token", "retire")
        await command(tally, WARDEN, "cert", "retire")
    await phase(args, tally, together, args.calls - tally.calls.total())
    await asyncio.sleep(0.1)  # a program that ends before the SDK's threads may crash: temporalio/sdk-python#300
    print(json.dumps({
        "seconds": round(time.monotonic() - begin), "calls": tally.calls.total(), "failed": len(tally.failures),
        "longest_stall_ms": round(max(took for took, _, _ in tally.longest.values()) * 1000), "by_kind": tally.calls,
        "longest_by_kind": {k: f"{t * 1000:.0f} ms, {who} at {at:.1f} s" for k, (t, who, at) in tally.longest.items()},
        "failures": tally.failures[:20],
    }))
    return 1 if tally.failures or tally.calls.total() < args.calls else 0


sys.exit(asyncio.run(main()))
