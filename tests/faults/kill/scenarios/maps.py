"""A task is mapped over a list, and its elements are begun, joined, run again and dropped."""

from __future__ import annotations

from typing import Any

from database.statuses import Status
from tests.faults.kill.scenario import Scenario, completed, delivered, job_ends, lands, starts, swept, time_passes
from tests.faults.kill.scenarios.arrivals import PERIOD
from tests.faults.kill.scenarios.people import cancels, marks, reruns, reruns_batch
from tests.faults.kill.scenarios.workflows import workflow

#: A list of one: what goes on outside for several elements ends in any order.
ONE = [["a"]]
LATER = (time_passes(), swept(), delivered())


def mapped(lists: list[list[str]] | None = None, **bake: Any) -> dict[str, Any]:
    """A list, a task that is mapped over it, and one that gets what its elements return."""
    return workflow(
        {
            "mix": {"lists": lists or [["a", "b"]]},
            "bake": {"needs": ["mix"], "map": "mix.list", "note": "{element}: {item}", **bake},
            "serve": {"needs": ["bake"], "note": "{results.bake.0.attempt}"},
        }
    )


def ends(elements: list[str], **tasks: str) -> dict[str, str]:
    """The statuses of the elements, and those of tasks that are no success; the batch's is that of `bake`."""
    statuses = {"mix": "SUCCESS", "bake": "SUCCESS", "serve": "SUCCESS", **tasks}
    return {
        **{f"2024-03 {task}": status for task, status in statuses.items()},
        **{f"2024-03 bake[{number}]": status for number, status in enumerate(elements)},
        "2024-03": statuses["bake"],
    }


FROM_FILE = workflow(
    {
        "load": {
            "kind": "takes_file",
            "file": f"gs://{{landing_bucket}}/cake/{PERIOD}.csv",
            "lists": [["a"], ["b"]],
        },
        "bake": {"kind": "job", "needs": ["load"], "map": "load.list"},
    }
)

SCENARIOS = (
    Scenario("a map and its join", (mapped(),), (starts(), delivered()), ends=ends(["SUCCESS", "SUCCESS"])),
    Scenario(
        "a map over nothing",
        (workflow({"mix": {"lists": [[]]}, "bake": {"needs": ["mix"], "map": "mix.list"}}),),
        (starts(), delivered()),
        ends={"2024-03 bake": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "an element that is retried",
        (mapped(ONE, fails=1, retries=1),),
        (starts(), delivered(), *LATER),
        ends=ends(["SUCCESS"]),
    ),
    Scenario(
        "an element that is a job",
        (mapped(ONE, kind="job"),),
        (starts(), delivered(), job_ends("bake"), *LATER),
        ends=ends(["SUCCESS"]),
    ),
    Scenario(
        "an element that somebody else does",
        (mapped(ONE, kind="handed_over"),),
        (starts(), delivered(), completed("bake", "SUCCESS", element=0, result={"attempt": 1}), delivered()),
        ends=ends(["SUCCESS"]),
    ),
    Scenario(
        "a batch runs again where elements failed",
        (mapped(refuses=1),),
        (reruns_batch(), delivered()),
        before=(starts(), delivered()),
        ends=ends(["SUCCESS", "SUCCESS"]),
    ),
    Scenario(
        "one element runs again, and the other is marked",
        (mapped(refuses=1),),
        (
            reruns("bake", element=0, downstream=True),
            delivered(),
            marks("bake", Status.SUCCESS, element=1),
            delivered(),
        ),
        before=(starts(), delivered()),
        ends=ends(["SUCCESS", "SUCCESS"]),
    ),
    Scenario(
        "a mapped task runs again while its element is a job",
        (mapped(ONE, kind="job"),),
        (reruns("bake"), *LATER, *LATER, *LATER, job_ends("bake"), *LATER),
        before=(starts(), delivered()),
        ends=ends(["SUCCESS"]),
    ),
    Scenario(
        "a newer file comes while an element is a job",
        (FROM_FILE,),
        (lands("cake/2024-03.csv", 2), delivered(), job_ends("bake"), *LATER, *LATER),
        before=(lands("cake/2024-03.csv"), delivered()),
        ends={"2024-03 load": "SUCCESS", "2024-03 bake": "SUCCESS", "2024-03 bake[0]": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "a batch is cancelled while an element is a job",
        (mapped(ONE, kind="job"),),
        (cancels(), *LATER, *LATER),
        before=(starts(), delivered()),
        ends=ends(["CANCELLED"], bake="CANCELLED", serve="CANCELLED"),
    ),
)
