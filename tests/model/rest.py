"""How a history ends: nothing goes wrong any more, and everything must come to rest."""

from __future__ import annotations

from database.statuses import Status
from run.engine.invariant import Invariant
from tests.model.attempts import Does
from tests.model.both import Both
from tests.model.model import Batch, Said, Task

#: Longer than any pause of the engine.
LONG = 1801
#: More often than anything must be mended before nothing moves any more.
ROUNDS = 20
#: More than tasks that may wait for somebody outside, one below the other, attempt after attempt.
GIFTS = 60


def come_to_rest(both: Both) -> None:
    """Assert that every batch ends, or waits for somebody outside; and that it ends when it gets what it waits for."""
    both.stop_pubsub(is_down=False)
    while both.standing:
        both.wake([(both.standing[-1], Does.SUCCEEDS)])
    _let_everything_move(both)
    for batch, task in both.model.all_tasks():
        assert not task.is_open or _waits_for_somebody(batch, task), f"{batch.name} {task} waits for nothing"
    # A file that an older version waits for, and no pattern of the newest one looks for, will never be found.
    forgotten = {
        f"{batch.name} {task.name}"
        for batch, task in both.model.all_tasks()
        if task.status is Status.WAITING and task.lacks_file and task.name not in both.wanting()
    }
    stuck = Invariant(both.world.database, both.world.life).check(0)
    assert {" ".join(line.split(":")[0].split()[1:]) for line in stuck} == forgotten
    _give_all_that_is_missing(both)
    assert both.world.rows("SELECT count(*) FROM audit") == [(both.moves,)]


def _give_all_that_is_missing(both: Both) -> None:
    for _ in range(GIFTS):
        waiting = [(batch, task) for batch, task in both.model.all_tasks() if task.is_open]
        if not waiting:
            return
        for batch, task in waiting:
            _give_what_is_missing(both, batch, task)
        _let_everything_move(both)
    raise AssertionError("a batch does not end")


def _let_everything_move(both: Both) -> None:
    for _ in range(ROUNDS):
        before = _standing(both)
        both.pass_time(LONG)
        both.sweep(lambda _batch, _task: Does.SUCCEEDS, confirms=True)
        while both.topic:
            both.deliver(min(both.topic), Does.SUCCEEDS)
        if before == _standing(both):
            return
    raise AssertionError("it never comes to rest")


def _standing(both: Both) -> list[tuple[Status, int]]:
    return [(task.status, task.attempt) for _, task in both.model.all_tasks()]


def _give_what_is_missing(both: Both, batch: Batch, task: Task) -> None:
    if task.awaits_completion:
        both.complete(batch, task, task.attempt, Said(Status.SUCCESS, 1))
    elif task.lacks_file and task.name in both.wanting():
        both.land(batch.name, task.name, 9)
    elif (task.lacks_file or task.plan.is_unknown) and task.is_open:
        # No file of an older version is wanted any more, and no later revision of the service comes.
        both.mark(batch, task, Status.SUCCESS)


def _waits_for_somebody(batch: Batch, task: Task) -> bool:
    """Whether a task waits for something from outside, or for another task that does."""
    return (
        task.lacks_file
        or task.awaits_completion
        or task.plan.is_unknown
        or any(parent.is_open and _waits_for_somebody(batch, parent) for parent in batch.parents(task))
    )
