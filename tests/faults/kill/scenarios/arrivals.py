"""Files arrive."""

from __future__ import annotations

from tests.faults.kill.scenario import Scenario, delivered, executed, lands
from tests.faults.kill.scenarios.workflows import workflow

PERIOD = r"(?P<period>\d{4}-\d{2})"


def _loads(folder: str, **more: object) -> dict[str, object]:
    return {"kind": "takes_file", "file": f"gs://{{landing_bucket}}/{folder}/{PERIOD}.csv", **more}


SALES = workflow({"load": _loads("sales", moves=True), "sum": {"needs": ["load"]}}, name="sales")
BOTH = workflow(
    {"sales": _loads("sales"), "costs": _loads("costs"), "sum": {"needs": ["sales", "costs"]}}, name="profit"
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
DONE = {"2024-03 load": "SUCCESS", "2024-03 sum": "SUCCESS", "2024-03": "SUCCESS"}
FIRST, SECOND = (lands("sales/2024-03.csv", generation) for generation in (1, 2))

SCENARIOS = (
    Scenario("a file arrives", (SALES,), (FIRST, delivered()), ends=DONE),
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
)
