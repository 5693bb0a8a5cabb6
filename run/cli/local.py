"""`dev` and `demo`: the whole service on this machine."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from run.errors import AcceleratorError

FOLDER = Path(".local")


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default=True, help="The data."
)
@click.option(
    "--delivery",
    type=click.Choice(["auto", "emulator", "loopback"]),
    default="auto",
    show_default=True,
    help="How messages reach the service.",
)
def dev(folder: Path, delivery: str) -> None:
    """Run Postgres, Pub/Sub, Cloud Storage, BigQuery and the service on this machine until Ctrl-C."""
    from database.migrating import migrate  # noqa: PLC0415  # `--help` need not wait for it.

    stack = _from_local("stack", "LocalStack")
    environment_file = folder / "environment"
    try:
        with stack(folder, delivery=delivery, say=click.echo) as running:
            migrate(running.environment["DATABASE_URL"])
            running.start_service()
            environment_file.write_text(_exports(running.environment))
            click.echo(
                f"\nIn another terminal:\n  source {shlex.quote(str(environment_file))}\nCtrl-C ends everything."
            )
            threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("\nEnded.")
    finally:
        # What it says of ports and addresses is true only while the stack runs.
        environment_file.unlink(missing_ok=True)


@click.command()
@click.option("--exit", "exit_when_done", is_flag=True, help="End when the report is there, and do not stay up.")
@click.pass_context
def demo(ctx: click.Context, exit_when_done: bool) -> None:
    """Drop a year of New York flights into the local bucket, and watch twelve monthly reports come."""
    ctx.exit(_from_local("demo", "run_demo")(exit_when_done, click.echo))


def _from_local(module: str, name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(import_module(f"run.local.{module}"), name)
    except ModuleNotFoundError as missing:
        raise AcceleratorError(
            f"{missing.name} is not installed; the local stack needs pip install -r requirements-dev.txt"
        ) from missing
    return found


def _exports(environment: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
