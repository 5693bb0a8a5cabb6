"""Tasks begin, go on and end."""

from __future__ import annotations

from run.pubsub.messages import completed_message
from tests.faults.kill.instance import Instance
from tests.faults.kill.scenario import (
    Scenario,
    completed,
    delivered,
    does,
    executed,
    job_ends,
    shortest_leases,
    starts,
    swept,
    time_passes,
)
from tests.faults.kill.scenarios.workflows import CAKE, chain, workflow

FINE = {"2024-03 mix": "SUCCESS", "2024-03 bake": "SUCCESS", "2024-03": "SUCCESS"}
RENEWAL = "COMMIT of leases._WAIT_BRIEFLY, leases._RENEW"
LATER = (time_passes(), swept(), delivered())


def _is_said_to_be_done(instance: Instance) -> None:
    [(task_id,)] = instance.rows("SELECT task_id FROM task WHERE name = 'mix'")
    instance.push(completed_message(task_id, "2024-03", "SUCCESS"), "done already")


def _is_shut_down(instance: Instance) -> None:
    if not instance.journal.read("shut down"):
        instance.journal.write("shut down")
        instance.life.give_back_all()


SCENARIOS = (
    Scenario(
        "a plain run",
        (CAKE,),
        (starts(), delivered()),
        ends={"2024-03 frost": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a join of many",
        (workflow({**{f"slice_{n}": {} for n in range(17)}, "bake": {"needs": [f"slice_{n}" for n in range(17)]}}),),
        (starts(), delivered()),
        ends={"2024-03 bake": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a join of many, one of which fails",
        (
            workflow(
                {
                    **{f"slice_{n}": {"refuses": int(n == 17)} for n in range(18)},
                    "bake": {"needs": [f"slice_{n}" for n in range(18)], "rule": "all_done"},
                }
            ),
        ),
        (starts(), executed("slice_0"), executed("slice_17"), delivered()),
        ends={"2024-03 slice_17": "ERROR", "2024-03 bake": "SUCCESS", "2024-03": "ERROR"},
        only="_FORGET",
    ),
    Scenario(
        "a skip cascade",
        (
            workflow(
                {
                    "mix": {"refuses": 1},
                    "bake": {"needs": ["mix"]},
                    "frost": {"needs": ["bake"]},
                    "clean": {"needs": ["frost"], "rule": "all_done"},
                    "wash": {"disabled": True},
                }
            ),
        ),
        (starts(), delivered()),
        ends={"2024-03 frost": "SKIPPED upstream_failed", "2024-03 clean": "SUCCESS", "2024-03": "ERROR"},
    ),
    Scenario(
        "the end of a batch whose last task may fail",
        (workflow({"mix": {}, "taste": {"refuses": 1, "allow_failure": True}}),),
        (starts(), delivered()),
        ends={"2024-03 taste": "ERROR", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a task that reads what its parent has returned, and one that has nothing to do",
        (
            workflow(
                {
                    "mix": {},
                    "bake": {"needs": ["mix"], "note": "the attempt {results.mix.attempt}"},
                    "taste": {"needs": ["bake"], "skips": True},
                    "serve": {"needs": ["taste"]},
                    "clean": {"needs": ["taste"], "rule": "none_failed"},
                }
            ),
        ),
        (starts(), delivered()),
        ends={
            "2024-03 bake": "SUCCESS",
            "2024-03 taste": "SKIPPED raised",
            "2024-03 serve": "SKIPPED rule",
            "2024-03 clean": "SUCCESS",
            "2024-03": "SUCCESS",
        },
    ),
    Scenario(
        "a retry",
        (chain(fails=2, retries=3),),
        (starts(), delivered(), *LATER, *LATER),
        ends=FINE,
    ),
    Scenario(
        "the last retry fails",
        (chain(fails=2, retries=1),),
        (starts(), delivered(), *LATER),
        ends={"2024-03 mix": "ERROR", "2024-03 bake": "SKIPPED upstream_failed", "2024-03": "ERROR"},
    ),
    Scenario(
        "the other side is busy, and the attempt is handed back",
        (chain(busy=True),),
        (starts(), delivered(), *LATER),
        ends=FINE,
    ),
    Scenario(
        "a process is shut down, and gives back what it works on",
        (chain(meanwhile="it is shut down"),),
        (starts(), delivered(), *LATER),
        ends=FINE,
        events={"it is shut down": _is_shut_down},
    ),
    Scenario(
        "let go and polled",
        (chain(kind="job"),),
        (starts(), delivered(), *LATER, job_ends("mix"), *LATER),
        ends=FINE,
    ),
    Scenario(
        "a job that ends while the message waits",
        (chain(kind="job", poll_after=0.01),),
        (starts(), delivered()),
        ends=FINE,
    ),
    Scenario(
        "a job that fails and is retried",
        (chain(kind="job", fails=1, retries=1),),
        (starts(), delivered(), job_ends("mix"), *LATER, *LATER, *LATER),
        ends=FINE,
    ),
    Scenario(
        "a job that times out, is ended and is retried",
        (chain(kind="job", timeout="1h", retries=1),),
        (starts(), delivered(), *LATER, job_ends("mix"), time_passes(1800), swept(), time_passes(1800), *LATER),
        ends=FINE,
    ),
    Scenario(
        "a completion message",
        (chain(kind="handed_over"),),
        (starts(), delivered(), completed("mix", "SUCCESS", result={"eggs": 2}), delivered()),
        ends=FINE,
    ),
    Scenario(
        "an early completion message",
        (workflow({"mix": {}, "bake": {"kind": "handed_over", "needs": ["mix"]}}),),
        (starts(), completed("bake", "SUCCESS", attempt=1), delivered()),
        ends=FINE,
        # Whoever takes the attempt over hands nothing over that is said to be done.
        needless="bake",
    ),
    Scenario(
        "a completion message while the task is in our hands",
        (chain(kind="handed_over", meanwhile="it is done"),),
        (starts(), delivered()),
        ends=FINE,
        events={"it is done": _is_said_to_be_done},
    ),
    Scenario(
        "a completion message of an error, and a retry",
        (chain(kind="handed_over", retries=1),),
        (
            *(starts(), delivered(), completed("mix", "ERROR", attempt=1, error="no eggs"), *LATER),
            *(completed("mix", "SUCCESS", attempt=2), delivered()),
        ),
        ends=FINE,
    ),
    Scenario(
        "a completion message that never comes",
        (chain(kind="handed_over", timeout="1h"),),
        (starts(), delivered(), *LATER, *LATER),
        ends={"2024-03 mix": "ERROR", "2024-03 bake": "SKIPPED upstream_failed", "2024-03": "ERROR"},
    ),
    Scenario(
        "a completion message that is rejected",
        (chain(),),
        (starts(), completed("mix", "SUCCESS"), delivered()),
        ends=FINE,
    ),
    Scenario(
        "a lease is renewed",
        (chain(meanwhile="it takes long"),),
        (starts(), delivered()),
        before=(does("leases are short", shortest_leases),),
        events={"it takes long": lambda instance: instance.points.wait_for("after", RENEWAL)},
        ends=FINE,
        only="_RENEW",
    ),
)
