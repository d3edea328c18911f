"""The application: starts workflows with client-token.jwt and never executes one."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from app.connection import Connection
from app.workflows import TASK_QUEUE, MyWorkflow

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")


class Job(BaseModel):
    """What a caller wants done."""

    data: str
    delay_seconds: float = Field(default=0, ge=0, le=3600)


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """One connection for the life of the application."""
    api.state.connection = await Connection.open("client-token.jwt")
    follower = asyncio.create_task(api.state.connection.follow())
    yield
    follower.cancel()


api = FastAPI(title="Jobs on an authenticated Temporal", lifespan=lifespan)


def temporal(request: Request) -> Client:
    """The client of this moment: it changes when certificates do."""
    return request.app.state.connection.client


@api.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Healthy means: Temporal serves this client."""
    try:
        await temporal(request).service_client.check_health()
    except RPCError as error:
        raise HTTPException(503, f"temporal: {error.message}") from error
    return {"status": "ok"}


@api.post("/jobs", status_code=202)
async def start(job: Job, request: Request) -> dict[str, str]:
    """Start a workflow and return at once."""
    handle = await temporal(request).start_workflow(
        MyWorkflow.run, args=[job.data, job.delay_seconds], id=f"job-{uuid.uuid4()}", task_queue=TASK_QUEUE
    )
    return {"id": handle.id}


@api.get("/jobs/{job_id}")
async def result(job_id: str, request: Request) -> dict[str, str | None]:
    """The state of a job, and its result once there is one."""
    handle = temporal(request).get_workflow_handle(job_id)
    try:
        status = (await handle.describe()).status
    except RPCError as error:
        missing = error.status == RPCStatusCode.NOT_FOUND
        raise HTTPException(404 if missing else 502, f"temporal: {error.message}") from error
    done = status == WorkflowExecutionStatus.COMPLETED
    return {"id": job_id, "status": status.name if status else None, "result": await handle.result() if done else None}
