"""gunicorn's entry: `gunicorn run.main:app`."""

from __future__ import annotations

from run.app import create_app
from run.settings import Settings

app = create_app(Settings.from_environment())
