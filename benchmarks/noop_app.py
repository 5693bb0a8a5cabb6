"""gunicorn's entry for the benchmarks: the service as it is, with the kind that does nothing in its table of kinds."""

from __future__ import annotations

import os
import sys

import run.kinds
from benchmarks.noop import PROCESSOR, NoOp
from run.app import create_app
from run.settings import Settings

run.kinds.KINDS = (*run.kinds.KINDS, NoOp)

# Threads of Python take turns; on two processors, each turn would cost a message from one to the other.
if sys.platform == "linux":
    os.sched_setaffinity(0, {int(os.environ[PROCESSOR])})

app = create_app(Settings.from_environment())
