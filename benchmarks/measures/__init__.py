"""What can be measured. Each measure is one function, from a Postgres to figures."""

from __future__ import annotations

from benchmarks.measures import fan_in, files, history, hop, idle_sweep, layer, memory, rate, rows
from benchmarks.measures.measuring import Measure

#: In the order in which they run.
MEASURES: dict[str, Measure] = {
    "hop": hop.measure,
    "rate": rate.measure,
    "layer": layer.measure,
    "rows": rows.measure,
    "sweep": idle_sweep.measure,
    "history": history.measure,
    "fan_in": fan_in.measure,
    "memory": memory.measure,
    "files": files.measure,
}
