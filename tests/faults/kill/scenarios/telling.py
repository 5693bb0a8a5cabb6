"""People are told what has become of a batch."""

from __future__ import annotations

from run.engine.moved import Who
from run.engine.notifier import tell_again
from tests.faults.kill.channels import REFUSING
from tests.faults.kill.instance import Instance
from tests.faults.kill.scenario import Scenario, asks, delivered, starts, swept, time_passes
from tests.faults.kill.scenarios.workflows import chain

HOOK = "https://taking.example/hook"
FAILED = {"2024-03 mix": "ERROR", "2024-03 bake": "SKIPPED upstream_failed", "2024-03": "ERROR"}


def _send_again(instance: Instance, reason: str) -> None:
    [(first,)] = instance.rows("SELECT min(notification_id) FROM notification")
    instance.database.transact(lambda tx: tell_again(tx, first, Who("ann", reason)))


SCENARIOS = (
    Scenario(
        "a failure is told by the batch and by the task",
        ({**chain(refuses=1, notify=[{"webhook": HOOK}]), "notify": [{"webhook": HOOK}]},),
        (starts(), delivered(), swept()),
        ends=FAILED,
    ),
    Scenario(
        "a retry is not told, and a success is",
        ({**chain(fails=1, retries=1), "notify": [{"webhook": HOOK, "on": ["success", "failure"]}]},),
        (starts(), delivered(), time_passes(), swept(), delivered(), swept()),
        ends={"2024-03": "SUCCESS"},
    ),
    Scenario(
        "a channel that takes nothing is given up, and a person has it tried again",
        ({**chain(refuses=1), "notify": [{"webhook": REFUSING}]},),
        (swept(), *(time_passes(), swept()) * 9, asks("try again", _send_again), swept()),
        before=(starts(), delivered()),
        ends=FAILED,
    ),
    Scenario(
        "a missed deadline is told",
        (
            {
                **chain(kind="job"),
                "deadline": "1h",
                "on_missed_deadline": "cancel",
                "notify": [{"webhook": HOOK, "on": ["missed_deadline"]}],
            },
        ),
        (swept(), swept(), time_passes(), swept()),
        before=(starts(), delivered(), time_passes()),
        ends={"2024-03 mix": "CANCELLED", "2024-03": "CANCELLED"},
    ),
)
