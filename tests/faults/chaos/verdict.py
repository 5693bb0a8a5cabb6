"""What is wrong after a run: tasks that were lost, done twice, left open, or done in the wrong order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from run.workflows.definition import TriggerRule
from tests.faults.chaos.evidence import Attempt, Evidence, TaskEvidence
from tests.faults.chaos.findings import Fault, Finding, Found
from tests.faults.chaos.graphs import FAILED, RUNS, Outcome
from tests.faults.chaos.mapped import of_the_mapped
from tests.faults.chaos.plan import Plan
from tests.faults.chaos.recovery import recoveries
from tests.faults.chaos.tormentor import Torment, Torture
from tests.faults.chaos.traffic import StartedBatch
from tests.faults.chaos.world import Address, Deed, What

#: What the work of an attempt begins with; a poll is no start.
STARTS = (What.BEGIN, What.INSERT, What.ADOPT, What.HAND_OVER)
#: How far apart two clocks of one machine may seem.
CLOCK_SECONDS = 0.1
#: How long a process that was told to end goes on.
GRACE_SECONDS = 11.0

TERMINAL = ("SUCCESS", "ERROR", "SKIPPED", "CANCELLED")
#: What a row holds only while its attempt is open, or while something is due.
ONLY_WHILE_OPEN = (
    *("token", "lease_until", "due_at", "publish_after", "handle", "awaits_completion", "ending", "reset"),
    *("awaits_elements", "waits_on"),
)
#: What a log says when the database holds a wait that nothing ends.
NAMELESS_WAIT = "nothing ends the waiting of"


def judge(plan: Plan, evidence: Evidence) -> list[Finding]:
    """Everything that is wrong."""
    findings = [Finding(fault, text) for fault, text in _of_the_services(evidence)]
    stops = [torment for torment in evidence.torments if torment.what is Torture.STOP]
    late = dict(_late(plan, evidence))
    for started in evidence.started:
        tasks = evidence.tasks_of(started)
        found = [*_of_the_batch(evidence, started)]
        for task in (one for whole in tasks.values() for one in (whole, *whole.elements)):
            parents = [tasks[name] for name in task.drawn.needs]
            of_task = [*_of_the_task(task, parents), *_too_soon(task, plan, stops), *_of_the_waits(task, evidence)]
            if task.address in late:
                of_task.append((Fault.LATE, f"it went on {late[task.address]:.1f} s after a SIGKILL"))
            found += [(fault, f"{task.address}: {text}") for fault, text in of_task]
        findings += [Finding(fault, text, started) for fault, text in found]
    return findings


def _late(plan: Plan, evidence: Evidence) -> Iterator[tuple[Address, float]]:
    for address, seconds in recoveries(evidence, Torture.CALM_KILL):
        if seconds > plan.recovery_seconds + plan.delivery_seconds:
            yield address, seconds


def _of_the_services(evidence: Evidence) -> Found:
    for message in evidence.rejected:
        yield Fault.WRONG, f"a message was rejected: {message['reason']}"
    for line in evidence.lines:
        text = str(line.get("message", ""))
        if NAMELESS_WAIT in text:
            yield Fault.OPEN, f"a service says: {text}"
        if line.get("status") == 500:
            yield Fault.WRONG, f"a push failed by a mistake of ours: {line}"


def _of_the_batch(evidence: Evidence, started: StartedBatch) -> Found:
    status = evidence.batches.get((started.workflow.name, started.batch))
    name = f"batch {started.workflow.name} {started.batch}"
    if status is None:
        yield Fault.LOST, f"{name} was never opened"
    elif status == "PROCESSING":
        yield Fault.OPEN, f"{name} has not ended"
    elif status != "SUCCESS":
        yield Fault.WRONG, f"{name} is {status}"
    for address in evidence.strangers:
        if address[:2] == (started.workflow.name, started.batch):
            yield Fault.DOUBLED, f"nobody has ordered {address}"


def _of_the_task(task: TaskEvidence, parents: Sequence[TaskEvidence]) -> Found:
    yield from _of_the_row(task)
    yield from _of_the_attempts(task)
    yield from _of_the_deeds(task) if task.drawn.over is None else of_the_mapped(task)
    yield from _of_the_order(task, parents)


def _of_the_waits(task: TaskEvidence, evidence: Evidence) -> Found:
    if task.address in evidence.nameless:
        yield Fault.OPEN, f"it waited for nothing: {evidence.nameless[task.address]}"
    if task.address in evidence.waits:
        yield Fault.OPEN, f"it waits for {evidence.waits[task.address] or 'nothing'}"


def _of_the_row(task: TaskEvidence) -> Found:
    if task.row is None or task.row["status"] not in TERMINAL:
        yield Fault.OPEN if task.row else Fault.LOST, f"it is {task.status}"
        return
    if task.status != task.drawn.outcome:
        was_to_run = task.drawn.outcome in RUNS and not task.attempts
        yield Fault.LOST if was_to_run else Fault.WRONG, f"it is {task.status}, it must be {task.drawn.outcome}"
    # The element that a mapped task remembers may be number 0.
    left = [name for name in ONLY_WHILE_OPEN if task.row[name] is not None and task.row[name] is not False]
    if left:
        yield Fault.WRONG, f"it has ended, and its row still has {', '.join(left)}"


def _of_the_attempts(task: TaskEvidence) -> Found:
    statuses = [attempt.status for attempt in task.attempts]
    numbers = [attempt.attempt for attempt in task.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        yield Fault.WRONG, f"its attempts are {numbers}"
    expected = ["ERROR"] * task.drawn.failures + [task.drawn.outcome.value]
    if task.drawn.hangs:
        expected = ["ERROR"] * max(len(statuses) - 1, task.drawn.failures) + [task.drawn.outcome.value]
    elif not task.drawn.attempts:
        expected = []
    if statuses != expected:
        more = len(statuses) > len(expected) or statuses.count("SUCCESS") > 1
        yield Fault.DOUBLED if more else Fault.WRONG, f"its attempts ended as {statuses}, they must as {expected}"
    for before, after in zip(task.attempts, task.attempts[1:], strict=False):
        if before.ended_at is None or before.ended_at > after.started_at:
            yield Fault.DOUBLED, f"attempt {after.attempt} began before attempt {before.attempt} had an outcome"


def _of_the_deeds(task: TaskEvidence) -> Found:
    known = {attempt.attempt: attempt for attempt in task.attempts}
    for deed in task.deeds:
        attempt = known.get(deed.attempt)
        if attempt is None and deed.what is not What.TELL:
            yield Fault.DOUBLED, f"the outside world has seen attempt {deed.attempt}, which the task log does not know"
        elif attempt is not None and deed.at < attempt.started_at - CLOCK_SECONDS and deed.what is not What.TELL:
            yield Fault.EARLY, f"attempt {deed.attempt} did its work before its claim: {deed}"
    for attempt in task.attempts:
        if not task.deeds_of(attempt.attempt, *STARTS) and not _may_start_nothing(task, attempt):
            yield Fault.LOST, f"attempt {attempt.attempt} has an outcome, and the outside world has seen nothing of it"
        yield from _of_the_deeds_of(task, attempt.attempt, is_last=attempt is task.attempts[-1])


def _may_start_nothing(task: TaskEvidence, attempt: Attempt) -> bool:
    """Whether an attempt can end before it has begun anything outside."""
    # What is said to be done before it was handed over need not be handed over any more, when its worker died.
    if task.drawn.is_told_early:
        return True
    # Its worker died, or the outside world had no time for it when it was asked; then its own time was over.
    return task.drawn.hangs and (attempt.error or "").startswith("timed out")


def _of_the_deeds_of(task: TaskEvidence, attempt: int, *, is_last: bool) -> Found:
    if len(task.deeds_of(attempt, What.INSERT)) > 1 or sum(job.attempt == attempt for job in task.jobs) > 1:
        yield Fault.DOUBLED, f"attempt {attempt} has more than one job"
    ends = task.deeds_of(attempt, What.CANCEL)
    later = [deed for deed in task.deeds if deed.attempt > attempt]
    if task.drawn.hangs and later and not any(end.number < later[0].number for end in ends):
        yield Fault.EARLY, f"attempt {later[0].attempt} began before what attempt {attempt} had begun was ended"
    if is_last and task.status == "SUCCESS" and not task.successes:
        yield Fault.LOST, "it is SUCCESS, and the outside world has not confirmed it"


def _too_soon(task: TaskEvidence, plan: Plan, stops: Sequence[Torment]) -> Found:
    """Starts of an attempt that came before the lease of the one before could have run out.

    Only what a service that was stopped has handed back may go on sooner.
    """
    for attempt in task.attempts:
        starts = task.deeds_of(attempt.attempt, *STARTS)
        for number, deed in enumerate(starts):
            leased = [start for start in starts[:number] if not _was_stopped(start, deed.at, stops)]
            after = deed.at - attempt.started_at
            if after < len(leased) * plan.lease_seconds - CLOCK_SECONDS:
                yield (
                    Fault.DOUBLED,
                    f"start {number + 1} of attempt {attempt.attempt} came {after:.2f} s after its claim",
                )


def _was_stopped(start: Deed, before: float, stops: Sequence[Torment]) -> bool:
    """Whether the process that made this start was told to end between then and that moment."""
    return any(stop.owner == start.owner and stop.at < before and start.at < stop.at + GRACE_SECONDS for stop in stops)


def _of_the_order(task: TaskEvidence, parents: Sequence[TaskEvidence]) -> Found:
    if not task.attempts:
        return
    # A mapped task does nothing itself; its elements begin after it.
    begin = min((deed.number for deed in task.deeds if deed.what is not What.TELL), default=inf)
    needed = list(_needed(task.drawn.rule, parents))
    for parent in needed:
        ended_at = parent.attempts[-1].ended_at if parent.attempts else None
        for worker in parent.workers:
            if worker.drawn.outcome is Outcome.SUCCESS and not any(number < begin for number in worker.successes):
                yield Fault.EARLY, f"it began before the outside world had seen the success of {worker.address}"
        if parent.attempts and (ended_at is None or ended_at > task.attempts[0].started_at):
            yield Fault.EARLY, f"it was claimed before the outcome of {parent.address.task}"
    one_of = _one_of(task.drawn.rule, parents)
    if one_of and not any((p.attempts[-1].ended_at or 0) <= task.attempts[0].started_at for p in one_of if p.attempts):
        yield Fault.EARLY, "it was claimed before any of its parents had the outcome that it needs"


def _needed(rule: TriggerRule, parents: Iterable[TaskEvidence]) -> Iterator[TaskEvidence]:
    """The parents that must all have ended before."""
    if rule not in (TriggerRule.one_success, TriggerRule.one_failed):
        yield from parents


def _one_of(rule: TriggerRule, parents: Iterable[TaskEvidence]) -> list[TaskEvidence]:
    """The parents of which one must have ended before; those that were skipped have no time to compare."""
    if rule is TriggerRule.one_success:
        return [parent for parent in parents if parent.drawn.outcome is Outcome.SUCCESS]
    if rule is TriggerRule.one_failed and not any(p.drawn.outcome is Outcome.SKIPPED_BY_FAILURE for p in parents):
        return [parent for parent in parents if parent.drawn.outcome in FAILED]
    return []
