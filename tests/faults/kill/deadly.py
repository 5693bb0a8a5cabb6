"""A process whose work kills it: python -m tests.faults.kill.deadly DATABASE_URL."""

from __future__ import annotations

import os
import signal
import sys

from database.keys import TaskKey
from database.sessions import Database
from database.workflows import find_task_by_name
from run.engine.life import TaskLife
from run.kinds.kind import Finished, Kind, KindConfig, Work
from tests.engine_room import ListPublisher


class DeadlyConfig(KindConfig):
    """No keys."""


class Deadly(Kind[DeadlyConfig]):
    """Ends its process as the kernel does when there is no more memory."""

    name = "deadly"
    config = DeadlyConfig

    def __init__(self) -> None:
        """It needs no clients."""

    def start(self, config: DeadlyConfig, work: Work) -> Finished:
        """Die of it."""
        os.kill(os.getpid(), signal.SIGKILL)
        return Finished()


def main() -> None:
    """Live one message of the task `mix` of the batch 2024-03 of the workflow `cake`."""
    [url] = sys.argv[1:]
    database = Database(url)
    found = database.transact(lambda tx: find_task_by_name(tx, "cake", "mix"))
    assert found is not None
    life = TaskLife(database, {"deadly": Deadly()}, ListPublisher(), {})
    life.execute(TaskKey(found.workflow_id, "2024-03", found.task_id))


if __name__ == "__main__":
    main()
