"""What is wrong with mapped tasks after a run, beside what is wrong with each of their elements."""

from __future__ import annotations

from tests.faults.chaos.evidence import TaskEvidence
from tests.faults.chaos.findings import Fault, Found
from tests.faults.chaos.graphs import Outcome


def of_the_mapped(task: TaskEvidence) -> Found:
    """What is wrong with a mapped task; that there are no other elements than those is judged with their batch."""
    yield from _of_its_own_work(task)
    yield from _of_the_list(task)
    if task.attempts:
        yield from _of_the_time(task)
        yield from _of_the_error(task)


def _of_its_own_work(task: TaskEvidence) -> Found:
    done = [*(deed.what for deed in task.deeds), *("a job" for _ in task.jobs)]
    if done:
        yield Fault.DOUBLED, f"its elements do its work, and it has done {', '.join(done)} itself"


def _of_the_list(task: TaskEvidence) -> Found:
    if task.row is not None and task.row["elements"] != len(task.elements):
        yield (
            Fault.WRONG,
            f"its row says that it has {task.row['elements']} elements, its list has {len(task.elements)}",
        )
    for number, element in enumerate(task.elements):
        if element.row is not None and element.row["item"] != element.drawn.orders:
            yield Fault.WRONG, f"element {number} is for {element.row['item']}, its item is {element.drawn.orders}"


def _of_the_time(task: TaskEvidence) -> Found:
    last = task.attempts[-1]
    for number, element in enumerate(task.elements):
        for attempt in element.attempts:
            if attempt.started_at < last.started_at:
                yield Fault.EARLY, f"attempt {attempt.attempt} of element {number} was claimed before its list was read"
            if last.ended_at is not None and (attempt.ended_at is None or attempt.ended_at > last.ended_at):
                yield Fault.EARLY, f"it ended before attempt {attempt.attempt} of element {number} had an outcome"


def _of_the_error(task: TaskEvidence) -> Found:
    failed = [number for number, one in enumerate(task.elements) if one.drawn.outcome is Outcome.ERROR]
    error = task.attempts[-1].error or ""
    if task.status == "ERROR" and not error.startswith(f"{len(failed)} of {len(task.elements)} elements failed: "):
        yield Fault.WRONG, f"its elements {failed} were to fail, and its error is {error!r}"
