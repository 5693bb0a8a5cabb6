"""People run tasks again, mark them, cancel batches, apply workflows and replay messages."""

from __future__ import annotations

from database.audit import write_audit
from database.sessions import Transaction
from database.statuses import Status
from database.workflows import store_version
from run.engine.moved import TaskOfBatch, Who
from run.handlers.replay import replay
from run.pubsub.messages import WorkflowMessage
from tests.faults.kill.instance import Instance
from tests.faults.kill.scenario import (
    Scenario,
    Step,
    asks,
    completed,
    delivered,
    does,
    executed,
    job_ends,
    lands,
    shortest_leases,
    starts,
    swept,
    time_passes,
)
from tests.faults.kill.scenarios.arrivals import collects
from tests.faults.kill.scenarios.workflows import chain, workflow

LATER = (time_passes(), swept(), delivered())
FINE = {"2024-03 mix": "SUCCESS", "2024-03 bake": "SUCCESS", "2024-03": "SUCCESS"}
HALF_DONE = workflow({"mix": {"refuses": 1}, "bake": {"needs": ["mix"]}, "frost": {"needs": ["bake"]}, "wash": {}})
ALL_DONE = {"2024-03 mix": "SUCCESS", "2024-03 frost": "SUCCESS", "2024-03 wash": "SUCCESS", "2024-03": "SUCCESS"}
OTHER_CAKE = workflow({"mix": {}, "bake": {"needs": ["mix"], "fails": 0, "busy": True}, "serve": {"needs": ["bake"]}})


LARGE = workflow({"mix": {"refuses": 1}, **{f"slice_{number}": {"needs": ["mix"]} for number in range(100)}})


def reruns(task: str, *, downstream: bool = False, element: int | None = None) -> Step:
    address = TaskOfBatch("cake", "2024-03", task, element)

    def rerun(instance: Instance, reason: str) -> None:
        instance.moves.rerun_task(address, Who("ann", reason), downstream=downstream)

    return asks(f"run {address.name} again", rerun)


def marks(task: str, status: Status, element: int | None = None) -> Step:
    address = TaskOfBatch("cake", "2024-03", task, element)

    def mark(instance: Instance, reason: str) -> None:
        instance.moves.mark_task(address, Who("ann", reason), status)

    return asks(f"{address.name} is {status}", mark)


def reruns_batch(*, failed: bool = True, latest: bool = False) -> Step:
    def rerun(instance: Instance, reason: str) -> None:
        instance.moves.rerun_batch("cake", "2024-03", Who("ann", reason), failed=failed, latest=latest)

    return asks("run the batch again", rerun)


def cancels() -> Step:
    return asks(
        "cancel the batch", lambda instance, reason: instance.moves.cancel_batch("cake", "2024-03", Who("ann", reason))
    )


def applies(definition: dict[str, object]) -> Step:
    """As `workflow apply` does it: the version and its audit row in one transaction."""

    def apply(instance: Instance, reason: str) -> None:
        new = instance.version_of(definition)

        def store(tx: Transaction) -> None:
            stored = store_version(tx, new)
            write_audit(tx, "ann", "apply", f"workflow {stored.workflow}", reason=reason)

        instance.database.transact(store)

    return asks("apply the workflow", apply)


def starts_by_hand() -> Step:
    def start(instance: Instance, _reason: str) -> None:
        instance.workflows.start(WorkflowMessage("cake", "2024-03"), "by hand", "ann")

    return asks("start", start, known_by="action")


def starts_one_of_its_own() -> Step:
    def start(instance: Instance, _reason: str) -> None:
        instance.workflows.start(WorkflowMessage("cake"), "by hand", "ann")

    return asks("start", start, known_by="action")


def replays() -> Step:
    def ask(instance: Instance, _reason: str) -> None:
        [(rejected_id,)] = instance.rows("SELECT rejected_id FROM rejected_message")
        replay(instance.database, instance.router, instance.publisher, rejected_id, "ann")

    return asks("replay", ask, known_by="action")


def _cancel_and_take_long(instance: Instance) -> None:
    cancels().act(instance)
    instance.points.wait_for("after", "COMMIT of leases._WAIT_BRIEFLY, leases._RENEW, cancellations._POSTPONE")


SCENARIOS = (
    Scenario(
        "a task runs again",
        (HALF_DONE,),
        (reruns("mix"), delivered()),
        before=(starts(), delivered()),
        ends={"2024-03 mix": "SUCCESS", "2024-03 bake": "SKIPPED upstream_failed", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a task runs again with all below it",
        (HALF_DONE,),
        (reruns("mix", downstream=True), delivered()),
        before=(starts(), delivered()),
        ends=ALL_DONE,
    ),
    Scenario(
        "a task that waits for its retry runs again now",
        (chain(fails=1, retries=1),),
        (reruns("mix"), delivered()),
        before=(starts(), delivered()),
        ends=FINE,
    ),
    Scenario(
        "a task runs again while its job goes on",
        (chain(kind="job"),),
        (reruns("mix"), *LATER, *LATER, job_ends("mix"), *LATER),
        before=(starts(), delivered()),
        ends=FINE,
    ),
    Scenario(
        "a batch runs again where it failed",
        (HALF_DONE,),
        (reruns_batch(), delivered()),
        before=(starts(), delivered()),
        ends=ALL_DONE,
    ),
    Scenario(
        "a batch runs again with the newest version",
        (workflow({"mix": {}, "bake": {"needs": ["mix"]}, "eat": {"kind": "handed_over", "needs": ["bake"]}}),),
        (reruns_batch(failed=False, latest=True), *LATER, *LATER),
        before=(starts(), delivered(), applies(OTHER_CAKE)),
        ends={"2024-03 bake": "SUCCESS", "2024-03 eat": "CANCELLED", "2024-03 serve": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a batch moves to a version that takes more files",
        (collects("cake", {"count": 1}),),
        (reruns_batch(failed=False, latest=True), lands("cake/2024-03/b.csv"), delivered()),
        before=(lands("cake/2024-03/a.csv"), delivered(), applies(collects("cake", {"count": 2}))),
        ends={"2024-03 load": "SUCCESS", "2024-03 sum": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a failed task is marked as done",
        (HALF_DONE,),
        (marks("mix", Status.SUCCESS), delivered()),
        before=(starts(), delivered()),
        ends=ALL_DONE,
    ),
    Scenario(
        "a task that goes on is marked as failed",
        (chain(kind="job"),),
        (marks("mix", Status.ERROR), *LATER, *LATER),
        before=(starts(), delivered()),
        ends={"2024-03 mix": "ERROR", "2024-03 bake": "SKIPPED upstream_failed", "2024-03": "ERROR"},
    ),
    Scenario(
        "a task that waits is marked as skipped",
        (workflow({"mix": {}, "bake": {"needs": ["mix"]}, "serve": {"needs": ["bake"], "rule": "all_done"}}),),
        (marks("bake", Status.SKIPPED), delivered()),
        before=(starts(),),
        ends={"2024-03 bake": "SKIPPED marked", "2024-03 serve": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a batch is cancelled while a task works",
        (chain(kind="job", meanwhile="it is cancelled"),),
        (executed("mix"), *LATER, *LATER),
        before=(starts(),),
        events={"it is cancelled": cancels().act},
        ends={"2024-03 mix": "CANCELLED", "2024-03 bake": "CANCELLED", "2024-03": "CANCELLED"},
    ),
    Scenario(
        "a batch is cancelled while a worker works on for long",
        (chain(meanwhile="it is cancelled and takes long"),),
        (executed("mix"), *LATER, *LATER),
        before=(does("leases are short", shortest_leases), starts()),
        events={"it is cancelled and takes long": _cancel_and_take_long},
        ends={"2024-03 mix": "CANCELLED", "2024-03 bake": "CANCELLED", "2024-03": "CANCELLED"},
        only="_POSTPONE",
    ),
    Scenario(
        "a batch is cancelled while a job goes on",
        (chain(kind="job"),),
        (cancels(), *LATER, *LATER),
        before=(starts(), delivered()),
        ends={"2024-03 mix": "CANCELLED", "2024-03 bake": "CANCELLED", "2024-03": "CANCELLED"},
    ),
    Scenario(
        "a batch is cancelled before its work is said to be done",
        (chain(kind="handed_over"),),
        (cancels(), completed("mix", "SUCCESS", attempt=1), *LATER),
        before=(starts(), delivered()),
        ends={"2024-03 mix": "CANCELLED", "2024-03": "CANCELLED"},
    ),
    Scenario(
        "a workflow is applied and started",
        (),
        (applies(chain()), starts_by_hand(), delivered()),
        ends=FINE,
    ),
    Scenario(
        "a person starts a batch of its own",
        (workflow({"mix": {}}, batch="Batch_{today:%Y%m%d}_{number}"),),
        (starts_one_of_its_own(), delivered()),
        ends={},
    ),
    Scenario(
        "a large workflow is applied, and its first task fails",
        (),
        (applies(LARGE), starts(), delivered()),
        ends={"2024-03 mix": "ERROR", "2024-03 slice_99": "SKIPPED upstream_failed", "2024-03": "ERROR"},
    ),
    Scenario(
        "a workflow is applied anew",
        (chain(),),
        (applies(OTHER_CAKE), starts(), *LATER),
        ends={"2024-03 serve": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a message is rejected, and replayed",
        (),
        (starts(), applies(chain()), replays(), delivered()),
        ends=FINE,
    ),
)
