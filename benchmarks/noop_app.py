"""gunicorn's entry for the benchmarks: the service as it is, with the kind that does nothing in its table of kinds."""

from __future__ import annotations

import run.kinds
from benchmarks.noop import NoOp
from run.app import create_app
from run.settings import Settings

run.kinds.KINDS = (*run.kinds.KINDS, NoOp)

app = create_app(Settings.from_environment())
