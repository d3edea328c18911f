"""A worker and a client of the Python SDK, for so long at so many workflows a second; says how every workflow ended.

Prints one JSON document; exit code 1 when a workflow failed, was lost or answered wrongly.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import sys
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, TLSConfig
from temporalio.common import RetryPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "soak"


@activity.defn
async def double(number: int) -> int:
    activity.heartbeat()
    await asyncio.sleep(0.2)
    return number * 2


@workflow.defn
class Soak:
    """Two activities, a timer and a signal: each way a worker and a client talk to Temporal."""

    def __init__(self) -> None:
        self.added: int | None = None

    @workflow.signal
    def add(self, number: int) -> None:
        self.added = number

    @workflow.query
    def state(self) -> int | None:
        return self.added

    @workflow.run
    async def run(self, number: int) -> int:
        # An attempt whose answer was lost with a connection is made again after this, as in any sound application.
        limits = {
            "start_to_close_timeout": timedelta(seconds=10),
            "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=1)),
        }
        first = await workflow.execute_activity(double, number, **limits)
        await workflow.sleep(1)
        await workflow.wait_condition(lambda: self.added is not None)
        return await workflow.execute_activity(double, first + (self.added or 0), **limits)


async def connected(args: argparse.Namespace, name: str) -> Client:
    folder = pathlib.Path(args.certs)
    tls = TLSConfig(
        server_root_ca_cert=(folder / "ca.crt").read_bytes(),
        client_cert=(folder / "temporal-client.crt").read_bytes(),
        client_private_key=(folder / "temporal-client.key").read_bytes(),
        domain="localhost",
    )
    token = (folder / f"{name}-token.jwt").read_text()
    return await Client.connect(args.address, tls=tls, rpc_metadata={"authorization": f"Bearer {token}"})


class Tally:
    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []
        self.failed: list[str] = []
        self.completed = 0
        self.slowest = 0.0
        self.call_errors: collections.Counter[str] = collections.Counter()

    async def again(self, name: str, make):
        """Calls, and calls once more when the SDK gave up on a broken connection, as an application would."""
        try:
            return await make()
        except RPCError as error:
            self.call_errors[f"{name}: {error.status.name} {error}"] += 1
            return await make()

    async def one(self, client: Client, number: int, run: str) -> None:
        name, begin = f"soak-{run}-{number}", time.monotonic()
        try:
            handle = client.get_workflow_handle_for(Soak.run, name)
            try:
                await self.again("start", lambda: client.start_workflow(Soak.run, number, id=name, task_queue=QUEUE))
            except WorkflowAlreadyStartedError:
                pass  # the first try had arrived, its answer was lost
            self.started.append((name, number))
            await self.again("signal", lambda: handle.signal(Soak.add, 1))
            if number % 10 == 0:
                await self.again("query", lambda: handle.query(Soak.state))
            result = await self.again("result", handle.result)
            if result != (number * 2 + 1) * 2:
                raise ValueError(f"the result is {result}")
            self.completed += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
        except Exception as error:  # whatever it was, it is what the user would have seen
            self.failed.append(f"{name}: {type(error).__name__}: {error} (cause: {error.__cause__})")


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--certs", required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=float, default=4, help="workflows a second")
    args = parser.parse_args()
    run, tally = str(int(time.time())), Tally()
    client = await connected(args, "client")
    worker = Worker(
        await connected(args, "worker"),
        task_queue=QUEUE,
        workflows=[Soak],
        activities=[double],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=50,
    )
    begin, running = time.monotonic(), []
    async with worker:
        for number in range(int(args.seconds * args.rate)):
            await asyncio.sleep(max(0.0, begin + number / args.rate - time.monotonic()))
            running.append(asyncio.create_task(tally.one(client, number, run)))
        await asyncio.wait(running, timeout=120)
        states = collections.Counter()
        for name, _ in tally.started:
            description = await client.get_workflow_handle(name).describe()
            states[description.status.name if description.status else "NONE"] += 1
    await asyncio.sleep(0.1)  # a program that ends before the SDK's threads may crash: temporalio/sdk-python#300
    lost = len(running) - tally.completed - len(tally.failed)
    print(json.dumps({
        "seconds": round(time.monotonic() - begin), "workflows": len(running), "completed": tally.completed,
        "failed": len(tally.failed), "lost": lost, "states": states, "slowest_s": round(tally.slowest, 1),
        "calls_that_failed_once": tally.call_errors, "failures": tally.failed[:20],
    }))
    return 0 if tally.completed == len(running) == states["COMPLETED"] else 1


sys.exit(asyncio.run(main()))
