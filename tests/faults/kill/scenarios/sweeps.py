"""The sweep mends, polls and does what is due."""

from __future__ import annotations

from tests.faults.kill.instance import Instance
from tests.faults.kill.scenario import (
    Scenario,
    Step,
    delivered,
    does,
    kicked,
    messages_are_lost,
    starts,
    swept,
    time_passes,
)
from tests.faults.kill.scenarios.arrivals import SALES
from tests.faults.kill.scenarios.workflows import CAKE, chain

FINE = {"2024-03 mix": "SUCCESS", "2024-03 bake": "SUCCESS", "2024-03": "SUCCESS"}


def _a_worker_dies(instance: Instance) -> None:
    instance.change(
        "UPDATE batch_task SET status = 'PROCESSING', attempt = 1, token = gen_random_uuid(), publish_after = NULL, "
        "lease_until = clock_timestamp() WHERE status = 'NEW'"
    )
    instance.change(
        "INSERT INTO task_log (workflow_id, batch_id, task_id, attempt, status) "
        "SELECT workflow_id, batch_id, task_id, 1, 'PROCESSING' FROM batch_task WHERE status = 'PROCESSING'"
    )


def _is_due(chore: str) -> Step:
    return does(
        f"the chore {chore} is due",
        lambda instance: instance.change(
            "INSERT INTO chore (name, due_at) VALUES (:chore, clock_timestamp())", chore=chore
        ),
    )


def _lies(name: str) -> Step:
    return does(f"{name} lies there", lambda instance: instance.journal.write("lies", name=name))


def _is_forgotten(instance: Instance) -> None:
    instance.change("UPDATE batch_task SET status = 'WAITING', publish_after = NULL WHERE status = 'NEW'")


def _pubsub_is_down(instance: Instance) -> None:
    instance.journal.write("down")


def _pubsub_is_back(instance: Instance) -> None:
    instance.journal.write("up")


SCENARIOS = (
    Scenario(
        "lost messages are published again",
        (CAKE,),
        (swept(), delivered()),
        before=(starts(), messages_are_lost(), time_passes()),
        ends={"2024-03 frost": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "Pub/Sub is down for a while",
        (chain(),),
        (
            starts(),
            time_passes(),
            swept(),
            does("Pub/Sub is back", _pubsub_is_back, of_service=False),
            time_passes(),
            swept(),
            delivered(),
        ),
        before=(does("Pub/Sub is down", _pubsub_is_down),),
        ends=FINE,
    ),
    Scenario(
        "a worker has died",
        (chain(),),
        (swept(), delivered()),
        before=(starts(), messages_are_lost(), does("a worker dies", _a_worker_dies)),
        ends=FINE,
    ),
    Scenario(
        "a kick by message",
        (chain(),),
        (kicked(), delivered()),
        before=(starts(), messages_are_lost(), time_passes()),
        ends=FINE,
    ),
    Scenario(
        "a task that nothing would have moved is found",
        (chain(),),
        (swept(), delivered()),
        before=(
            starts(),
            messages_are_lost(),
            does("it is forgotten", _is_forgotten),
            time_passes(),
            _is_due("invariant"),
        ),
        ends=FINE,
    ),
    Scenario(
        "files that were never announced are found",
        (SALES,),
        (kicked(), delivered()),
        before=(_lies("sales/2024-03.csv"), _lies("sales/2024-04.csv"), _is_due("scan")),
        ends={"2024-03": "SUCCESS", "2024-04": "SUCCESS"},
    ),
    Scenario(
        "a deadline is missed",
        ({**chain(kind="job"), "deadline": "1h", "on_missed_deadline": "cancel"},),
        (swept(), time_passes(), swept()),
        before=(starts(), delivered(), time_passes()),
        ends={"2024-03 mix": "CANCELLED", "2024-03": "CANCELLED"},
    ),
)
