"""The guide's `MyWorkflow` and `my_activity`."""

from datetime import timedelta

from temporalio import activity, workflow

TASK_QUEUE = "my-queue"


@activity.defn
async def my_activity(data: str) -> str:
    """The work itself."""
    return f"processed {data}"


@workflow.defn
class MyWorkflow:
    """One activity; with a delay, a job that outlives a restart of the server."""

    @workflow.run
    async def run(self, data: str, delay_seconds: float = 0) -> str:
        if delay_seconds > 0:
            await workflow.sleep(timedelta(seconds=delay_seconds))
        return await workflow.execute_activity(my_activity, data, start_to_close_timeout=timedelta(seconds=30))
