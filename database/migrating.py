"""Bringing the tables to the version that this code was written for."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database to `revision`; safe when several instances do it at once, nothing to do the second time."""
    command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision`; what only the newer tables can hold is lost."""
    command.downgrade(_config(url), revision)


def check_models(url: str) -> None:
    """Raise when the models and the migrated database differ."""
    command.check(_config(url))


def is_migrated(tx: Connection) -> bool:
    """Whether the database is at the newest revision that this code knows, or at one that a newer revision has made."""
    current = MigrationContext.configure(tx).get_current_revision()
    if current is None:
        return False
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    newest = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    return current == newest or current not in known


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    # ConfigParser reads % as the beginning of a reference; a password may hold one.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
