"""A `dataform_run` task, a repository for it, and a worker that may be asked step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from run.clients import Clients
from run.kinds.dataform_run import DataformRun
from run.kinds.kind import Finished, GoesOn, Progress, Work
from run.settings import Settings
from tests.servers.dataform import DataformServer

MOST_POLLS = 20
ACTIONS: dict[str, list[str] | None] = {
    "raw_sales": None,
    "daily_sales": ["raw_sales"],
    "daily_sales_summary": ["daily_sales"],
    "top_products": ["daily_sales_summary"],
    "stock": [],
}
TAGS = {"daily_sales": ["daily"], "stock": ["daily", "night"]}
PLACE = {"project": "acme", "location": "europe-west1", "repository": "sales"}
SUMMARY = {**PLACE, "commit": "main", "targets": ["daily_sales_summary"]}


def kind_at(server: DataformServer) -> DataformRun:
    """The kind, which meets this server."""
    settings = Settings(
        database_url="postgresql://nobody@localhost/none",
        project="acme",
        landing_bucket="landing",
        dataform_url=server.url,
    )
    return DataformRun(Clients(settings))


def work(attempt: int = 1, batch_id: str = "2024-03-16") -> Work:
    """An attempt at the task `summary` of a day."""
    day = date.fromisoformat(batch_id)
    return Work(
        workflow="daily",
        batch_id=batch_id,
        task="summary",
        attempt=attempt,
        batch_uid=f"uid-{batch_id}",
        values={"project": "acme", "batch_id": batch_id, "day": day, "team": "shop"},
        params={},
        batch_values={"day": day},
        files={},
        # Nobody takes the attempt away here; tests/integration/kinds/test_dataform_in_the_engine.py does.
        store_handle=lambda _handle: None,
    )


@dataclass
class DataformRoom:
    """What a test of the kind needs; each call is a worker that knows nothing but the handle."""

    server: DataformServer
    config: dict[str, Any] = field(default_factory=lambda: dict(SUMMARY))
    work: Work = field(default_factory=work)

    def __post_init__(self) -> None:
        self.code = self.server.repository(actions=dict(ACTIONS), tags=TAGS)

    def start(self) -> GoesOn:
        return waited_for(kind_at(self.server).start(self._config(), self.work))

    def poll(self, handle: Mapping[str, Any]) -> Progress:
        """Ask once; the handle has been in the database meanwhile."""
        return kind_at(self.server).poll(self._config(), self.work, json.loads(json.dumps(handle)))

    def begin(self) -> GoesOn:
        """Compile and invoke."""
        return waited_for(self.poll(self.start().handle))

    def finish(self, handle: Mapping[str, Any]) -> Finished:
        """Ask until the work is done."""
        for _ in range(MOST_POLLS):
            progress = self.poll(handle)
            if isinstance(progress, Finished):
                return progress
            handle = waited_for(progress).handle
        raise AssertionError(f"not done after {MOST_POLLS} polls")

    def run(self) -> Finished:
        """All of it, with an invocation that succeeds."""
        begun = self.begin()
        self.server.end()
        return self.finish(begun.handle)

    def cancel(self, handle: Mapping[str, Any] | None) -> bool:
        return kind_at(self.server).cancel(self._config(), self.work, handle)

    def invoked(self) -> list[dict[str, Any]]:
        """The settings of every invocation that was asked for."""
        return [one.json["invocationConfig"] for one in self.server.requests("POST", "/workflowInvocations")]

    def compiled(self) -> list[dict[str, Any]]:
        """Every compilation that was asked for."""
        return [one.json for one in self.server.requests("POST", "/compilationResults")]

    def _config(self) -> Any:
        return DataformRun.config.model_validate(self.config)


def waited_for(progress: Progress) -> GoesOn:
    assert isinstance(progress, GoesOn)
    return progress


#: An invocation that seems to be as old is asked for by the sweep, not waited for.
LONG_AGO = timedelta(hours=1)
