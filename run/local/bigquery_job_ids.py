"""Makes the local BigQuery server refuse a job id that it knows, as BigQuery does.

By itself it runs the job again, so that a worker that takes over would load twice here and nowhere else:
https://docs.cloud.google.com/bigquery/docs/running-jobs#generate-jobid
"""

from __future__ import annotations

from typing import Annotated, Any

from bqemulator.api.dependencies import AppContext, get_caller, get_context
from bqemulator.api.routes import jobs
from bqemulator.domain.errors import AlreadyExistsError
from bqemulator.row_access.identity import CallerIdentity
from fastapi import Depends, Request


def install() -> None:
    """Put our jobs.insert in the place of the server's, which it calls."""
    (theirs,) = (one for one in jobs.router.routes if getattr(one, "endpoint", None) is jobs.insert_job)
    jobs.router.routes.remove(theirs)
    jobs.router.post("/projects/{project_id}/jobs")(_insert_job)


async def _insert_job(
    project_id: str,
    request: Request,
    server: Annotated[AppContext, Depends(get_context)],
    caller: Annotated[CallerIdentity, Depends(get_caller)],
) -> dict[str, Any]:
    body = await request.json()
    job_id = (body.get("jobReference") or {}).get("jobId")
    # The server ends a job before it takes the next one, so that one which is under way need not be looked for.
    if job_id and not body.get("configuration", {}).get("dryRun") and _is_known(project_id, job_id, server):
        raise AlreadyExistsError(f"Already Exists: Job {project_id}:US.{job_id}")
    return await jobs.insert_job(project_id, request, server, caller)


def _is_known(project_id: str, job_id: str, server: AppContext) -> bool:
    job = server.catalog.get_job(project_id, job_id)
    # The server keeps dry runs as jobs, and BigQuery does not.
    return job is not None and not job.configuration.get("dryRun")
