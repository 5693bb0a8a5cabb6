"""gunicorn's entry for the tests of shutting down: the service, with a kind whose work takes as long as it is told."""

from __future__ import annotations

import os
import time

import run.kinds
from run.app import create_app
from run.kinds.kind import Finished, Kind, KindConfig, Work
from run.settings import Settings


class SlowConfig(KindConfig):
    """How long the work takes, where nobody is in a hurry."""

    seconds: float


class Slow(Kind[SlowConfig]):
    """Sleeps, unless this process has the variable IN_A_HURRY."""

    name = "slow"
    config = SlowConfig

    def start(self, config: SlowConfig, work: Work) -> Finished:
        time.sleep(0 if "IN_A_HURRY" in os.environ else config.seconds)
        return Finished()


run.kinds.KINDS = (*run.kinds.KINDS, Slow)

app = create_app(Settings.from_environment())
