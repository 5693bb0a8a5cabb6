"""Files arrive."""

from __future__ import annotations

from tests.faults.kill.scenario import Scenario, delivered, executed, lands, swept, time_passes
from tests.faults.kill.scenarios.workflows import workflow

PERIOD = r"(?P<period>\d{4}-\d{2})"


def _loads(folder: str, **more: object) -> dict[str, object]:
    return {"kind": "takes_file", "file": f"gs://{{landing_bucket}}/{folder}/{PERIOD}.csv", **more}


SALES = workflow({"load": _loads("sales", moves=True), "sum": {"needs": ["load"]}}, name="sales")
BOTH = workflow(
    {"sales": _loads("sales"), "costs": _loads("costs"), "sum": {"needs": ["sales", "costs"]}}, name="profit"
)
READ_BY_ANOTHER = workflow(
    {"load": _loads("sales"), "sum": {"kind": "reads", "from": "load", "needs": ["load"]}}, name="sales"
)
EACH = workflow(
    {"load": {"kind": "takes_file", "file": "gs://{landing_bucket}/each/(?P<name>.*)"}},
    name="each",
    batch="Batch_{today:%Y%m%d}_{number}",
)
DATED = workflow(
    {
        "load": {
            "kind": "takes_file",
            "file": r"gs://{landing_bucket}/dated/(?P<period>.*)\.csv",
            "parse": {"period": "%b-%Y"},
        }
    },
    name="dated",
    batch="{period:%Y-%m}",
)


def collects(name: str, until: dict[str, object], **load: object) -> dict[str, object]:
    """A workflow that takes many files."""
    file = f"gs://{{landing_bucket}}/{name}/{PERIOD}/.*"
    tasks = {"load": {"kind": "takes_file", "file": file, "files": "many", "until": until, **load}}
    return workflow({**tasks, "sum": {"needs": ["load"]}}, name=name)


A, B, C, MARKER = (lands(f"parts/2024-03/{name}") for name in ("a.csv", "b.csv", "c.csv", "_SUCCESS"))
DONE = {"2024-03 load": "SUCCESS", "2024-03 sum": "SUCCESS", "2024-03": "SUCCESS"}
FIRST, SECOND = (lands("sales/2024-03.csv", generation) for generation in (1, 2))

SCENARIOS = (
    Scenario("a file arrives", (SALES,), (FIRST, delivered()), ends=DONE),
    Scenario(
        "a file arrives, and another task reads it",
        (
            workflow(
                {"load": _loads("sales"), "sum": {"kind": "reads", "from": "load", "needs": ["load"]}}, name="sales"
            ),
        ),
        (FIRST, delivered()),
        ends=DONE,
    ),
    Scenario(
        "two files meet in one batch",
        (BOTH,),
        (FIRST, delivered(), lands("costs/2024-03.csv"), delivered()),
        ends={"2024-03 sum": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario("a newer file arrives", (SALES,), (SECOND, delivered()), before=(FIRST, delivered()), ends=DONE),
    Scenario(
        "a newer file arrives while the older one is read",
        (workflow({"load": _loads("sales", meanwhile="a newer one lands"), "sum": {"needs": ["load"]}}, name="sales"),),
        (executed("load"), delivered()),
        before=(FIRST,),
        events={"a newer one lands": SECOND.act},
        ends=DONE,
    ),
    Scenario("an older file arrives late", (SALES,), (FIRST, delivered()), before=(SECOND, delivered()), ends=DONE),
    Scenario("a file opens a batch of its own", (EACH,), (lands("each/a.csv"), delivered()), ends={}),
    Scenario("nobody wants a file", (SALES,), (lands("other/a.csv"),), ends={}),
    Scenario("a file is rejected", (DATED,), (lands("dated/soon.csv"),), ends={}),
    Scenario(
        "a second object for one task is rejected",
        (workflow({"load": _loads("sales(/copy)?")}, name="sales"),),
        (lands("sales/copy/2024-03.csv"), delivered()),
        before=(FIRST, delivered()),
        ends={"2024-03 load": "SUCCESS", "2024-03": "SUCCESS"},
    ),
    Scenario(
        "many files come until there are enough",
        (collects("parts", {"count": 2}, moves=True),),
        (A, B, delivered(), lands("parts/2024-03/a.csv", 2), delivered()),
        ends=DONE,
    ),
    Scenario(
        "many files come until their marker does",
        (collects("parts", {"marker": f"gs://{{landing_bucket}}/parts/{PERIOD}/_SUCCESS"}),),
        (MARKER, B, delivered()),
        before=(A,),
        ends=DONE,
    ),
    Scenario(
        "many files come until it is quiet, and then another one",
        (collects("parts", {"quiet": "10m"}),),
        (A, B, time_passes(), swept(), delivered(), C, time_passes(), swept(), delivered()),
        ends=DONE,
    ),
    Scenario(
        "one of many files is bad",
        (collects("parts", {"count": 2}, bad_file="b.csv", retries=1),),
        (delivered(), time_passes(), swept(), delivered()),
        before=(A, B),
        ends=DONE,
    ),
)
