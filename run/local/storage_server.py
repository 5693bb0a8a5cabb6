"""A Cloud Storage server on disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from run.local.ports import LOOPBACK, free_port
from run.local.processes import Process, Program, answers, started

READY_SECONDS = 20


class StorageServer:
    """A running server that keeps its buckets in `folder`; for `with`. It announces nothing: see Notifier.

    Raises StartFailed.
    """

    def __init__(self, folder: Path, logs: Path, *, buckets: Sequence[str] = ("landing", "archive")) -> None:
        self.folder = folder.resolve()
        self.url = ""
        self._logs = logs
        self._buckets = buckets
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = started(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    @property
    def objects_folder(self) -> Path:
        """Where the objects lie as files, `BUCKET/OBJECT`, for a server that reads `gs://` from disk."""
        return self.folder / "objects"

    def _start(self) -> Process:
        self.url = f"http://{LOOPBACK}:{(port := free_port())}"
        program = Program(
            name="storage",
            arguments=[
                *(sys.executable, "-m", "run.local.storage_process"),
                *(str(self.folder), LOOPBACK, str(port), *self._buckets),
            ],
            logs=self._logs,
            environment={"STORAGE_DIR": self.objects_folder.name},
        )
        process = Process(program)
        process.wait_until(lambda: answers(f"{self.url}/storage/v1/b"), seconds=READY_SECONDS)
        return process
