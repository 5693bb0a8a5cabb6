"""The model's attempts: a worker begins one, goes on with one, ends one, or dies; the sweep mends what is left."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from database.statuses import Status
from tests.model.judging import FIRST_REPUBLISH, LONGEST_REPUBLISH, may_retry, publish, release, settle
from tests.model.model import Batch, Cancellation, Due, Model, Refused, Said, Task, exactly

#: What the test configures for every task, in seconds.
LEASE = 600
RETRY_DELAY = 40
RETRY_MAX_DELAY = 70
POLL_AFTER = 30
#: What the engine says, in seconds.
LONGEST_WAIT_FOR_COMPLETION = 7 * 24 * 3600
SHORTEST_PAUSE, LONGEST_PAUSE = 10, 300
LONGEST_PAUSE_OF_CANCELLATION = 600


class Does(StrEnum):
    """What becomes of the work of an attempt, as far as one worker sees it."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    FAILS_IN_PASSING = "fails in passing"
    #: It goes on outside, where it can be asked for; a task whose work ends with a message is handed over.
    GOES_ON = "goes on"
    #: The other side does not answer.
    HEARS_NOTHING = "hears nothing"
    #: The worker dies.
    DIES = "dies"
    #: The worker stands still, perhaps for ever, in the middle of its work.
    FREEZES = "freezes"


def execute(model: Model, batch: Batch, name: str, does: Does) -> None:
    """A message says that the task shall run."""
    task = batch.tasks.get(name)
    if task is None:
        raise Refused(f"the batch has no task {name}")
    if task.plan.is_unknown:
        return
    if task.status is Status.NEW:
        task.move(Status.PROCESSING)
        task.log.append(Status.PROCESSING)
        task.takeovers, task.started_at = 0, model.now
        _work(model, batch, task, does)
    elif task.worker is not None and task.lease_until < model.now:
        _take_over(model, batch, task, does)
    elif task.was_handed_back:
        _go_on(model, batch, task, does)


def go_on(model: Model, batch: Batch, name: str, does: Does) -> None:
    """The sweep goes on with an attempt that is due."""
    task = batch.tasks[name]
    if task.is_let_go and not task.awaits_completion and task.due is not None and task.due.has_come(model.now):
        _go_on(model, batch, task, does)


def _take_over(model: Model, batch: Batch, task: Task, does: Does) -> None:
    task.takeovers += 1
    if task.takeovers >= task.plan.max_takeovers:
        _end(model, batch, task, Status.ERROR)
    else:
        _go_on(model, batch, task, does)


def _go_on(model: Model, batch: Batch, task: Task, does: Does) -> None:
    said = batch.said.get((task.name, task.attempt))
    if said is not None:
        # Handing the work over again would be of no use.
        _end(model, batch, task, said.status, passing=True)
    elif _is_over(model, task) and not task.has_handle:
        time_out(model, batch, task)
    else:
        _work(model, batch, task, does)


def _work(model: Model, batch: Batch, task: Task, does: Does) -> None:
    model.workers += 1
    task.worker, task.lease_until, task.due = model.workers, model.now + LEASE, None
    task.is_last_look = _is_over(model, task)
    model.begun[batch.name, task.name, task.attempt] += 1
    end_work(model, batch, task, does)


def end_work(model: Model, batch: Batch, task: Task, does: Does) -> None:
    """The worker that has the attempt is done with it, in one way or another."""
    if task.is_last_look and does in (Does.GOES_ON, Does.HEARS_NOTHING):
        time_out(model, batch, task)
        return
    match does:
        case Does.SUCCEEDS | Does.GOES_ON if task.plan.is_external:
            _begin_to_wait(model, batch, task)
        case Does.SUCCEEDS:
            _end(model, batch, task, Status.SUCCESS)
        case Does.FAILS | Does.FAILS_IN_PASSING:
            _end(model, batch, task, Status.ERROR, passing=does is Does.FAILS_IN_PASSING)
        case Does.GOES_ON:
            task.has_handle = True
            _let_go(task, exactly(model.now + POLL_AFTER))
        case Does.HEARS_NOTHING:
            _let_go(task, Due(model.now + SHORTEST_PAUSE, model.now + LONGEST_PAUSE))


def come_back(model: Model, batch: Batch, name: str, attempt: int, worker: int, does: Does) -> None:
    """A worker that stood still ends its work; when somebody else has the attempt now, it changes nothing."""
    task = batch.tasks[name]
    if task.worker == worker:
        end_work(model, batch, task, does)
    elif does is not Does.DIES and task.log[attempt - 1] is Status.CANCELLED:
        _tell_of_lost_work(model, batch, task, attempt, has_handle=does is Does.GOES_ON and not task.plan.is_external)


def _tell_of_lost_work(model: Model, batch: Batch, task: Task, attempt: int, *, has_handle: bool) -> None:
    """Nobody works on an attempt any more that was taken away; what it has begun can be ended at once."""
    known = batch.cancellations.get((task.name, attempt))
    if has_handle:
        # Even if the end was confirmed before: now it is known what there is to end.
        known = batch.cancellations[task.name, attempt] = known or Cancellation(exactly(model.now))
        known.tries = 0
        if task.attempt == attempt and task.status is not Status.PROCESSING:
            task.ending = True
        if task.attempt == attempt and task.status is Status.NEW:
            task.move(Status.WAITING)
    if known is not None and known.tries == 0:
        known.due = exactly(min(known.due.earliest, model.now))


def give_back(batch: Batch, name: str, worker: int, now: float) -> None:
    """The service is told to end, and lets somebody else go on with what it has; its worker is not heard any more."""
    task = batch.tasks[name]
    if task.worker == worker:
        _let_go(task, exactly(now))


def _let_go(task: Task, due: Due) -> None:
    task.worker, task.is_last_look = None, False
    latest = task.started_at + (task.plan.timeout or float("inf"))
    task.due = Due(min(due.earliest, latest), min(due.latest, latest))


def _is_over(model: Model, task: Task) -> bool:
    return task.plan.timeout is not None and model.now >= task.started_at + task.plan.timeout


def time_out(model: Model, batch: Batch, task: Task) -> None:
    """The attempt has lasted too long: what of it goes on outside is ended before there is another one."""
    _end_outside(model, batch, task)
    _close(model, batch, task, Status.ERROR, passing=True)


def _end_outside(model: Model, batch: Batch, task: Task) -> None:
    task.ending = True
    batch.cancellations[task.name, task.attempt] = Cancellation(exactly(model.now))


def _begin_to_wait(model: Model, batch: Batch, task: Task) -> None:
    said = batch.said.get((task.name, task.attempt))
    if said is not None:
        end_as_said(model, batch, task, said)
        return
    task.worker, task.is_last_look = None, False
    longest = task.plan.timeout
    task.due = exactly(model.now + LONGEST_WAIT_FOR_COMPLETION if longest is None else task.started_at + longest)
    task.awaits_completion = True


def end_as_said(model: Model, batch: Batch, task: Task, said: Said) -> None:
    """A completion message ends the attempt."""
    _close(model, batch, task, said.status, passing=True)


def _end(model: Model, batch: Batch, task: Task, outcome: Status, *, passing: bool = False) -> None:
    """Its worker ends the attempt; one before it that only stands still may yet begin something outside."""
    if outcome is Status.ERROR and task.takeovers:
        _end_outside(model, batch, task)
    _close(model, batch, task, outcome, passing=passing)


def _close(model: Model, batch: Batch, task: Task, outcome: Status, *, passing: bool = False) -> None:
    task.log[-1] = outcome
    retries = passing and outcome is Status.ERROR and task.retried < task.plan.retries
    if task.reset:
        task.move(Status.WAITING)
        task.retried = 0
    elif retries:
        task.move(Status.WAITING)
        task.due = Due(model.now, model.now + min(RETRY_MAX_DELAY, RETRY_DELAY * 2**task.retried))
        task.retried += 1
    else:
        task.move(outcome)
    settle(model, batch)


def sweep(model: Model, does: Callable[[str, str], Does], *, confirms: bool) -> None:
    """Mend and go on with whatever is due; `does` says what becomes of work that is looked at."""
    _send_again(model)
    while _sweep_once(model, does, confirms=confirms):
        pass


def _send_again(model: Model) -> None:
    for batch, task in model.all_tasks():
        if task.publish_after is not None and task.publish_after.has_come(model.now):
            publish(model, batch, task)
            # That nothing can be sent is not the message's fault: it is tried again soon.
            task.publishes += 0 if model.pubsub_is_down else 1
            wait = min(LONGEST_REPUBLISH, FIRST_REPUBLISH * 2 ** (0 if model.pubsub_is_down else task.publishes))
            task.publish_after = exactly(model.now + wait)
        elif task.worker is not None and task.lease_until < model.now:
            publish(model, batch, task)
        elif task.was_handed_back and task.due is not None and task.due.has_come(model.now):
            publish(model, batch, task)
            task.due = Due(model.now, model.now + LONGEST_REPUBLISH)


def _sweep_once(model: Model, does: Callable[[str, str], Does], *, confirms: bool) -> bool:
    """Go on with everything that is due; whether there was anything."""
    found = False
    for batch, task in model.all_tasks():
        if task.due is None or not task.due.has_come(model.now) or task.due.latest > model.now:
            continue
        if may_retry(model, batch, task):
            release(model, batch, task)
        elif task.awaits_completion:
            time_out(model, batch, task)
        elif task.has_handle:
            _go_on(model, batch, task, does(batch.name, task.name))
        else:
            continue
        found = True
    return _try_cancellations(model, confirms=confirms) or found


def _try_cancellations(model: Model, *, confirms: bool) -> bool:
    due = [
        (batch, key)
        for batch in model.batches.values()
        for key, cancellation in batch.cancellations.items()
        if cancellation.due.latest <= model.now
    ]
    for batch, key in due:
        if confirms:
            del batch.cancellations[key]
            if not any(name == key[0] for name, _ in batch.cancellations):
                batch.tasks[key[0]].ending = False
            settle(model, batch)
        else:
            cancellation = batch.cancellations[key]
            cancellation.tries += 1
            cancellation.due = Due(model.now, model.now + LONGEST_PAUSE_OF_CANCELLATION)
    return bool(due)
