"""gunicorn's entry for the chaos run: the service as it is, with the kinds of the chaos run in its table of kinds."""

from __future__ import annotations

import run.kinds
from run.app import create_app
from run.settings import Settings
from tests.faults.chaos.kinds import CHAOS_KINDS

run.kinds.KINDS = (*run.kinds.KINDS, *CHAOS_KINDS)

app = create_app(Settings.from_environment())
