"""The model and the database, side by side, after every step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from database.statuses import Status
from tests.model.judging import may_retry, release
from tests.model.model import Batch, Due, Model, Task, exactly
from tests.model.reasons import reasons
from tests.model.world import Seen, World

#: How far a moment may be off, in seconds, for having been a float.
CLOSE = 0.001


def compare(model: Model, world: World) -> list[tuple[str, str]]:
    """Assert that both stand alike, and return the messages that were sent.

    Where the engine may choose, a moment or whom to blame, the model takes over what it has chosen.
    """
    sent = world.take_messages()
    seen = world.look()
    rows = {(row.batch_id, row.name): row for row in seen.rows["task"]}
    _learn_retries(model, rows)
    differences = [*_of_tasks(model, rows), *_of_batches(model, seen), *_of_outer_world(model, seen)]
    differences += _of_reasons(model, seen)
    # Sending twice is harmless; not at all, or what cannot start, is not.
    differences += [f"no message to {task}" for task in model.sent - set(sent)]
    differences += [f"a message to {task}, which cannot start" for task in set(sent) - _may_be_sent(model)]
    differences += _differ("begun", model.begun, world.answers.begun)
    assert not differences, "the model says, and the database:\n" + "\n".join(differences)
    model.sent.clear()
    return sent


def _may_be_sent(model: Model) -> set[tuple[str, str]]:
    return model.sent | {(batch.name, task.name) for batch, task in model.all_tasks() if task.status is Status.NEW}


def _learn_retries(model: Model, rows: dict[tuple[str, str], Any]) -> None:
    for batch, task in model.all_tasks():
        row = rows.get((batch.name, task.name))
        if row is not None and row.status == Status.NEW and may_retry(model, batch, task):
            release(model, batch, task)


def _of_tasks(model: Model, rows: dict[tuple[str, str], Any]) -> Iterator[str]:
    yield from _differ("tasks", {(batch.name, task.name) for batch, task in model.all_tasks()}, set(rows))
    for batch in model.batches.values():
        # Parents first: who is to blame for a parent is to blame for its child.
        for task in {task.name: task for task in (*batch.in_order, *batch.tasks.values())}.values():
            row = rows.get((batch.name, task.name))
            if row is not None:
                where = f"{batch.name} {task.name}"
                yield from _differ(where, _told(task), _read(row))
                yield from _differ_in_moments(where, task, row)
                yield from _differ_in_culprit(where, batch, task, row.culprit)


def _told(task: Task) -> dict[str, Any]:
    is_processing = task.status is Status.PROCESSING
    return {
        "status": task.status,
        "cause": task.cause,
        "log": task.log,
        "attempt": task.attempt,
        "retried": task.retried,
        "takeovers": task.takeovers,
        "lacks_file": task.lacks_file,
        "reset": task.reset,
        "ending": task.ending,
        "awaits_completion": task.awaits_completion,
        "has_handle": task.has_handle,
        "leased": is_processing and task.worker is not None,
    }


def _read(row: Any) -> dict[str, Any]:
    return {
        "status": row.status,
        "cause": row.skip_cause,
        "log": row.log,
        "attempt": row.attempt,
        "retried": row.retried,
        "takeovers": row.takeovers,
        "lacks_file": row.awaits_file,
        "reset": row.reset,
        "ending": row.ending,
        "awaits_completion": row.awaits_completion,
        # Of an attempt that has ended, whoever ends its work outside may still need it.
        "has_handle": row.has_handle and row.status == Status.PROCESSING,
        "leased": row.is_leased,
    }


def _differ_in_moments(where: str, task: Task, row: Any) -> Iterator[str]:
    lease = None if task.worker is None else exactly(task.lease_until)
    yield from _differ_in_moment(f"{where} lease_until", lease, row.lease_until)
    yield from _differ_in_moment(f"{where} publish_after", task.publish_after, row.publish_after)
    yield from _differ_in_moment(f"{where} due", task.due, row.due_at)
    task.due = None if row.due_at is None else exactly(row.due_at)


def _differ_in_moment(where: str, told: Due | None, read: float | None) -> Iterator[str]:
    if told is None or read is None:
        yield from _differ(where, told, read)
    elif not told.earliest - CLOSE <= read <= told.latest + CLOSE:
        yield f"{where}: {told} but {read}"


def _differ_in_culprit(where: str, batch: Batch, task: Task, culprit: str | None) -> Iterator[str]:
    if task.culprits is None:
        failed = [parent for parent in batch.parents(task) if parent.failed]
        task.culprits = frozenset().union(*(parent.culprits or {parent.name} for parent in failed))
    blamed = frozenset() if culprit is None else frozenset({culprit})
    if not blamed <= task.culprits or bool(blamed) != bool(task.culprits):
        yield f"{where} culprit: {set(task.culprits)} but {culprit}"
    task.culprits = blamed


def _of_reasons(model: Model, seen: Seen) -> Iterator[str]:
    for batch, task in model.all_tasks():
        told = reasons(model, batch, task)
        read = seen.reasons.get((batch.name, task.name), [])
        where = f"{batch.name} {task.name} waits"
        yield from _differ(where, [(one.kind, one.ids) for one in told], [(kind, ids) for kind, ids, _ in read])
        for one, (_, _, until) in zip(told, read, strict=False):
            yield from _differ_in_moment(f"{where} for {one.kind} until", one.until, until)


def _of_batches(model: Model, seen: Seen) -> Iterator[str]:
    told = {batch.name: (batch.status, batch.version) for batch in model.batches.values()}
    yield from _differ("batches", told, {row.batch_id: (row.status, row.version) for row in seen.rows["batch"]})


def _of_outer_world(model: Model, seen: Seen) -> Iterator[str]:
    cancellations = {
        (batch.name, *key): cancellation
        for batch in model.batches.values()
        for key, cancellation in batch.cancellations.items()
    }
    rows = {(row.batch_id, row.name, row.attempt): row for row in seen.rows["cancellation"]}
    yield from _differ("cancellations", set(cancellations), set(rows))
    for key, cancellation in cancellations.items():
        if key in rows:
            yield from _differ_in_moment(f"cancellation {key}", cancellation.due, rows[key].due_at)
            cancellation.due = exactly(rows[key].due_at)
    told = {
        (batch.name, *key): (said.status, said.result, said.error)
        for batch in model.batches.values()
        for key, said in batch.said.items()
    }
    read = {
        (row.batch_id, row.name, row.attempt): (row.status, row.result, row.error) for row in seen.rows["completion"]
    }
    yield from _differ("completions", told, read)


def _differ(where: str, told: Any, read: Any) -> Iterator[str]:
    if told == read:
        return
    if isinstance(told, dict) and isinstance(read, dict):
        names = [name for name in {**told, **read} if told.get(name) != read.get(name)]
        yield f"{where}: " + ", ".join(f"{name} {told.get(name)!s} but {read.get(name)!s}" for name in names)
    else:
        yield f"{where}: {told} but {read}"
