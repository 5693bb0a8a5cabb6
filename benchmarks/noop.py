"""The kind of task that is measured: it does nothing, so that all that is left is ours."""

from __future__ import annotations

import os
import sys
import time

from run.kinds.kind import Finished, Kind, KindConfig, Work

#: The variable that tells an instance which processor is its own, and those that there are.
PROCESSOR = "BENCH_PROCESSOR"
PROCESSORS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))


class NoOpConfig(KindConfig):
    """How long a list it returns, for a task that is mapped over it."""

    items: int = 0


class NoOp(Kind[NoOpConfig]):
    """Looks at the clock, which is Postgres's too because both run on this machine, and is done."""

    name = "no_op"
    config = NoOpConfig

    def start(self, config: NoOpConfig, work: Work) -> Finished:  # noqa: ARG002 - what every kind is given
        began = {"began": time.time()}
        return Finished({**began, "items": [0] * config.items} if config.items else began)
