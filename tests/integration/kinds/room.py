"""What a test of the kinds needs at hand: files to land, attempts to make, and tables to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from run.clients import Clients
from run.kinds import build_kinds
from run.kinds.kind import Finished, GoesOn, ObjectVersion, Progress, TakenFile, Work
from run.workflows.templates import Value

MOST_POLLS = 100
DATA = Path(__file__).parents[2] / "data"


@dataclass
class Room:
    """One test's dataset, folder and batch task."""

    name: str
    clients: Clients
    bigquery: bigquery.Client
    storage: Any
    files: dict[str, TakenFile] = field(default_factory=dict)

    def land(self, task: str, name: str, content: bytes) -> TakenFile:
        """Put an object into the landing bucket and let the task take it."""
        place = self.put("landing", f"{self.name}/{name}", content)
        file = TakenFile(file_log_id=len(self.files) + 1, landed=place, place=place)
        self.files[task] = file
        return file

    def put(self, bucket: str, name: str, content: bytes) -> ObjectVersion:
        blob = self.storage.bucket(bucket).blob(name)
        blob.upload_from_string(content, timeout=10)
        return ObjectVersion(bucket, name, int(blob.generation))

    def read(self, place: ObjectVersion) -> bytes:
        content: bytes = self.storage.bucket(place.bucket).blob(place.name).download_as_bytes(timeout=10)
        return content

    def start(self, kind: str, config: Mapping[str, Any], work: Work) -> Finished:
        """Let the kind do its work to the end, as the engine does, only without its pauses."""
        return self.finish(kind, config, work, self.begin(kind, config, work))

    def begin(self, kind: str, config: Mapping[str, Any], work: Work) -> Progress:
        """Let the kind begin its work."""
        chosen = build_kinds(self.clients)[kind]
        return chosen.start(chosen.config.model_validate(config), work)

    def poll(self, kind: str, config: Mapping[str, Any], work: Work, handle: Mapping[str, Any]) -> Progress:
        """Let the kind ask once; the handle has been in the database meanwhile."""
        chosen = build_kinds(self.clients)[kind]
        return chosen.poll(chosen.config.model_validate(config), work, json.loads(json.dumps(handle)))

    def finish(self, kind: str, config: Mapping[str, Any], work: Work, progress: Progress) -> Finished:
        """Let the kind ask until its work is done."""
        for _ in range(MOST_POLLS):
            if isinstance(progress, Finished):
                return progress
            assert isinstance(progress, GoesOn)
            progress = self.poll(kind, config, work, progress.handle)
        raise AssertionError(f"not done after {MOST_POLLS} polls")

    def cancel(self, kind: str, config: Mapping[str, Any], work: Work, handle: Mapping[str, Any] | None = None) -> bool:
        """Let the kind end what an attempt has begun; whether it says that this is confirmed."""
        chosen = build_kinds(self.clients)[kind]
        return chosen.cancel(chosen.config.model_validate(config), work, handle)

    def load(self, config: Mapping[str, Any], *, batch_id: str = "2024-03", attempt: int = 1) -> Finished:
        return self.start("load_file", config, self.work("load", batch_id=batch_id, attempt=attempt))

    def work(
        self,
        task: str,
        *,
        batch_id: str = "2024-03",
        attempt: int = 1,
        values: Mapping[str, Value] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Work:
        batch_values = dict(values or {})
        names = {"landing_bucket": "landing", "archive_bucket": "archive", "project": "local", "dataset": self.name}
        return Work(
            batch_uid=f"{self.name}-{batch_id}",
            workflow=self.name[:40],
            batch_id=batch_id,
            task=task,
            attempt=attempt,
            values={**names, "workflow": self.name[:40], "task": task, "batch_id": batch_id, **batch_values},
            params=dict(params or {}),
            batch_values=batch_values,
            files=self.files,
        )

    def march(self, attempt: int = 1) -> Work:
        """An attempt at the task `load` in the batch of March 2024."""
        return self.work("load", attempt=attempt, values={"period": date(2024, 3, 1)})

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, in which {dataset} is this test's."""
        job = self.bigquery.query(sql.replace("{dataset}", self.name), timeout=10)
        return [dict(row.items()) for row in job.result(timeout=20)]

    def count(self, table: str, where: str = "TRUE") -> int:
        return int(self.rows(f"SELECT COUNT(*) AS n FROM {{dataset}}.{table} WHERE {where}")[0]["n"])
