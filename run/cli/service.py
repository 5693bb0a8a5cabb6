"""`serve`, `migrate`, `config` and `sweep`: what whoever runs the service does with it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import click
from pydantic import SecretStr

from database.listings.schema import schema_revision
from database.migrating import migrate as migrate_database
from database.sessions import Database
from run.cli.commands import Failed
from run.cli.connections import open_service
from run.cli.options import json_option
from run.cli.printing import print_json, print_table
from run.settings import Settings, misspelt, read_database_url

_HIDDEN = "***"


@click.command()
@click.option("--threads", type=click.IntRange(1), help="Requests at a time, instead of THREADS.")
def serve(threads: int | None) -> None:
    """Serve push requests, as Cloud Run does: gunicorn on PORT, in place of this process."""
    if threads is not None:
        os.environ["THREADS"] = str(threads)
    Settings.from_environment()
    sys.stdout.flush()
    # This process becomes gunicorn, so that the signals that end it reach gunicorn.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config=python:run.serving"])  # noqa: S606


@click.command()
def migrate() -> None:
    """Bring the database to the newest tables; safe when several do it at once."""
    url = read_database_url()
    before = _revision(url)
    migrate_database(url)
    after = _revision(url)
    if before == after:
        click.echo(f"Nothing to do: the database is at revision {after}.")
    else:
        click.echo(f"The database is at revision {after} now; it was {f'at {before}' if before else 'empty'}.")


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show the settings as the service reads them, secrets hidden."""
    settings = Settings.from_environment(serves=False)
    shown = {
        str(field.validation_alias): _shown(getattr(settings, name)) for name, field in Settings.model_fields.items()
    }
    if as_json:
        print_json(shown)
    else:
        rows = [(name, "" if value is None else str(value)) for name, value in shown.items()]
        print_table(("VARIABLE", "VALUE"), rows, if_none="")
    for problem in misspelt():
        click.echo(problem, err=True)
    for problem in settings.serving_problems():
        click.echo(f"serve would not start: {problem}", err=True)


@click.command()
@json_option
def sweep(as_json: bool) -> None:
    """Mend once what a crash, a lost message or a dead worker has left; the sweep message does the same."""
    with open_service() as service:
        swept = service.sweeps.sweep()
    if as_json:
        print_json(swept)
    else:
        click.echo(", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in swept.items()))
    if swept.get("put_off"):
        raise Failed("Something could not be done and is tried again later; the log says what.")


def _revision(url: str) -> str | None:
    database = Database(url)
    try:
        return database.transact(schema_revision)
    finally:
        database.close()


def _shown(value: Any) -> Any:
    """The value without passwords: what stands before an @, and queries that name one."""
    if isinstance(value, SecretStr):
        return _HIDDEN
    if isinstance(value, Mapping):
        return dict.fromkeys(value, _HIDDEN)
    if not isinstance(value, str) or "://" not in value:
        return value
    without = re.sub(r"(?<=://)([^:@/?#]*):.*@", rf"\1:{_HIDDEN}@", value)
    return re.sub(r"(?i)([?&][^=&]*(?:password|passfile|key|token|secret)[^=&]*=)[^&#]*", rf"\1{_HIDDEN}", without)
