"""A process of the service that lives one message of a task: python -m tests.faults.kill.worker WORKFLOW BATCH TASK."""

from __future__ import annotations

import sys

from database.keys import TaskKey
from database.workflows import find_task_by_name
from run.app import build_service
from run.settings import Settings


def main() -> None:
    """Live it."""
    workflow, batch_id, task = sys.argv[1:]
    service = build_service(Settings.from_environment())
    found = service.database.transact(lambda tx: find_task_by_name(tx, workflow, task))
    assert found is not None
    service.life.execute(TaskKey(found.workflow_id, batch_id, found.task_id))
    service.close()


if __name__ == "__main__":
    main()
