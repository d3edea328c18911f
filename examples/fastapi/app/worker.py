"""The worker: polls `my-queue` with worker-token.jwt. Run as `python -m app.worker`."""

import asyncio
import logging
import signal
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from app.connection import Connection
from app.workflows import TASK_QUEUE, MyWorkflow, my_activity

ALIVE = Path("/tmp/worker-alive")  # the container's health check looks at its age


async def heartbeat() -> None:
    """Show that the event loop turns; it ends with the worker."""
    while True:
        ALIVE.touch()
        await asyncio.sleep(5)


async def main() -> None:
    """Work until SIGTERM or SIGINT, then finish what is running."""
    connection = await Connection.open("worker-token.jwt")
    worker = Worker(connection.client, task_queue=TASK_QUEUE, workflows=[MyWorkflow], activities=[my_activity])

    def use(client: Client) -> None:
        worker.client = client

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async with worker:
        side_tasks = [asyncio.create_task(heartbeat()), asyncio.create_task(connection.follow(use))]
        logging.info("worker polls %s", TASK_QUEUE)
        await stop.wait()
        for task in side_tasks:
            task.cancel()
    # The SDK's threads answer for a moment longer; an interpreter that ends before them crashes (exit code 139 or 134):
    # https://github.com/temporalio/sdk-python/issues/300
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(main())
