"""gunicorn's entry for the tests of shutting down: the service, with a kind whose work takes as long as it is told."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import run.kinds
from run.app import create_app
from run.kinds.kind import Finished, GoesOn, Kind, KindConfig, Progress, Work
from run.settings import Settings


class SlowConfig(KindConfig):
    """How long the work takes, where nobody is in a hurry."""

    seconds: float
    #: Whether it is a job, of which each question takes so long.
    is_job: bool = False


class Slow(Kind[SlowConfig]):
    """Sleeps, unless this process has the variable IN_A_HURRY."""

    name = "slow"
    config = SlowConfig

    def start(self, config: SlowConfig, work: Work) -> Progress:
        if config.is_job:
            return GoesOn({"job": work.key}, 60)
        time.sleep(0 if "IN_A_HURRY" in os.environ else config.seconds)
        return Finished()

    def poll(self, config: SlowConfig, work: Work, handle: Mapping[str, Any]) -> Finished:
        time.sleep(config.seconds)
        return Finished()


run.kinds.KINDS = (*run.kinds.KINDS, Slow)

app = create_app(Settings.from_environment())
