"""Results that are too large for the database, each an object in a bucket of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from run.clients.storage import Changed, Storage
from run.errors import PermanentFailure, Unavailable

#: Custom metadata of such an object: its own address, so that a copy of it elsewhere is a new file.
RESULT_MARKER = "cloud-accelerator-result-at"


class ResultObjects:
    """Writes and reads them under `results/`."""

    def __init__(self, storage: Callable[[], Storage], bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket

    def write(self, name: str, content: bytes) -> Mapping[str, Any]:
        """Write the content under this name, which nobody else writes."""
        storage, place = self._storage(), f"results/{name}"
        metadata = {RESULT_MARKER: f"gs://{self._bucket}/{place}"}
        with TemporaryDirectory() as folder:
            path = Path(folder) / "result.json"
            path.write_bytes(content)
            try:
                written = storage.write(path, self._bucket, place, "application/json", metadata, replaces=0)
            except Changed as error:
                # The answer to our own request was lost.
                found = storage.find(self._bucket, place)
                if found is None:
                    raise Unavailable(str(error)) from error
                written = found
        return {"bucket": written.bucket, "name": written.name, "generation": written.generation}

    def read(self, place: Mapping[str, Any]) -> bytes:
        """The content of exactly the generation that was written."""
        storage = self._storage()
        found = storage.find(place["bucket"], place["name"])
        if found is None or found.generation != place["generation"]:
            raise PermanentFailure(
                f"the result in gs://{place['bucket']}/{place['name']} is gone; run the task that made it again"
            )
        return b"".join(storage.read(found))
