"""Nothing waits without a name: what stands still although nothing keeps it is found, spoken of, and judged again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from database.facts import OpenTask, stuck_tasks
from database.keys import WHOLE, TaskKey
from database.sessions import Database, Transaction
from database.statuses import Status
from run.engine.collecting import close_if_whole
from run.engine.dependency_checker import check_with_descendants
from run.engine.elements import check_alone, end_if_all_have
from run.engine.life import TaskLife
from run.engine.reasons import ReasonKind, reasons_of

logger = logging.getLogger(__name__)

#: How long a task may stand still before it is looked at, in seconds: longer than messages are put off.
STANDS_STILL_SECONDS = 3600.0


@dataclass(frozen=True)
class Stuck:
    """An open task, or element, that stands still, and why that is wrong."""

    workflow: str
    batch: str
    task: str
    status: Status
    why: str


def find_stuck(tasks: Iterable[OpenTask]) -> list[Stuck]:
    """Those of the tasks that nothing will move, or nobody has moved in time."""
    return [
        Stuck(task.workflow, task.batch_id, _name(task), task.status, why)
        for task in tasks
        if (why := _why_stuck(task)) is not None
    ]


def _name(task: OpenTask) -> str:
    return task.task if task.element == WHOLE else f"{task.task}[{task.element}]"


class Invariant:
    """Checks that for every open task there is something that will end its waiting."""

    def __init__(self, database: Database, life: TaskLife) -> None:
        self._database = database
        self._life = life

    def check(self, stands_still_seconds: float = STANDS_STILL_SECONDS) -> list[str]:
        """Log an ERROR for each task that nothing will move, or nobody has moved in time; judge the former again."""
        found = []
        for task in self._database.transact(lambda tx: stuck_tasks(tx, stands_still_seconds)):
            what = _why_stuck(task)
            if what is None:
                continue
            key = TaskKey(task.workflow_id, task.batch_id, task.task_id, task.element)
            name = _name(task)
            names = {"workflow": task.workflow, "batch": task.batch_id, "task": task.task}
            logger.error("nothing ends the waiting of %s: %s", name, what, extra=names)
            found.append(f"{task.workflow} {task.batch_id} {name}: {what}")
            if task.status is Status.WAITING:
                self._judge_again(key)
            elif not reasons_of(task):
                self._judge_elements(key)
        return found

    def do_chore(self, _seconds: float) -> bool:
        """Check as the sweep does now and then; it is always finished."""
        self.check()
        return True

    def _judge_again(self, key: TaskKey) -> None:
        def judge(tx: Transaction) -> tuple[int, ...]:
            closed = close_if_whole(tx, key)
            return closed.released + check_with_descendants(tx, key).released

        if key.is_element:
            self._judge_elements(key)
        else:
            self._life.publish(key.batch_id, self._database.transact(judge))

    def _judge_elements(self, key: TaskKey) -> None:
        judge = check_alone if key.is_element else end_if_all_have
        checked = self._database.transact(lambda tx: judge(tx, key))
        self._life.publish(key.batch_id, checked.released, checked.elements)


def _why_stuck(task: OpenTask) -> str | None:
    is_for_nothing = task.status is Status.WAITING and task.awaits_file and not task.is_looked_for
    reasons = [] if is_for_nothing else reasons_of(task)
    if not reasons:
        no_file = "the newest version of its workflow looks for no file for it; batch rerun --latest moves it there"
        return no_file if is_for_nothing else f"it is {task.status} and waits for nothing"
    match reasons[0].kind:
        case ReasonKind.MESSAGE:
            return f"its message was due at {task.publish_after} and has been sent {task.publishes} times"
        case ReasonKind.FILES:
            return f"its files were all there at {task.quiet_at}, and no sweep has let it start"
        case ReasonKind.DEAD_WORKER:
            return f"its worker died, its lease ran out at {task.lease_until}, and nobody has taken it over"
        case ReasonKind.RETRY | ReasonKind.JOB | ReasonKind.HANDED_BACK | ReasonKind.COMPLETION:
            return f"it was due at {task.due_at}, and no sweep has gone on with it"
        case _:
            return None
