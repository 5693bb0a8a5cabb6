"""`metrics`: how much goes on, waits and was given up, for a monitoring system."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import click
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from database.listings.standing import Count, Standing, standing
from run.cli.connections import open_database
from run.cli.options import json_option
from run.cli.printing import print_json


@click.command()
@json_option
def metrics(as_json: bool) -> None:
    """Count batches, open tasks, notifications and rejected messages."""
    with open_database() as database:
        counted = database.transact(standing)
    if as_json:
        print_json(counted)
        return
    registry = CollectorRegistry()
    registry.register(_Counted(counted))
    click.echo(generate_latest(registry).decode(), nl=False)


class _Counted:
    """What was counted, as the library collects it."""

    def __init__(self, counted: Standing) -> None:
        self._counted = counted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counted = self._counted
        yield _by_status("batches", "Batches by workflow and status.", counted.batches)
        yield _by_status("open_tasks", "Tasks and elements that are not terminal.", counted.open_tasks)
        age = "How long the oldest of them has not changed."
        yield _by_status("oldest_open_task_seconds", age, counted.open_tasks, lambda one: one.oldest_seconds)
        yield _by_status("notifications", "What people are told of batches.", counted.notifications)
        dead = "Tasks whose worker died and that nobody has taken over yet."
        yield GaugeMetricFamily(_name("dead_workers"), dead, value=counted.dead_workers)
        yield GaugeMetricFamily(_name("rejected_messages"), "Messages that wait for a person.", value=counted.rejected)


def _by_status(
    name: str, help_: str, counts: Sequence[Count], value: Callable[[Count], float] = lambda one: one.count
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_name(name), help_, labels=("workflow", "status"))
    for one in counts:
        family.add_metric((one.workflow, one.status), value(one))
    return family


def _name(what: str) -> str:
    return f"cloud_accelerator_{what}"
