"""gunicorn's entry, as `run/serving.py` names it."""

from __future__ import annotations

from run.app import create_app
from run.settings import Settings

app = create_app(Settings.from_environment())
