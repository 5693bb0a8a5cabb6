"""A BigQuery server on DuckDB."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from run.local.ports import LOOPBACK, free_port
from run.local.processes import Process, Program, answers, started

READY_SECONDS = 60


class BigQueryServer:
    """A running server that keeps its tables in `folder` and reads `gs://` from `objects_folder`; for `with`.

    Raises StartFailed.
    """

    def __init__(self, folder: Path, logs: Path, *, objects_folder: Path, project: str = "local") -> None:
        self.folder = folder.resolve()
        self.url = ""
        self._logs = logs
        self._objects_folder = objects_folder.resolve()
        self._project = project
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
        return {"BIGQUERY_EMULATOR_HOST": self.url}

    def _start(self) -> Process:
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        ports = ["--rest-port", str(port), "--grpc-port", str(free_port())]
        data = ["--persistent", "--data-dir", str(self.folder), "--project", self._project, "--log-level", "warning"]
        program = Program(
            name="bigquery",
            arguments=[sys.executable, "-m", "run.local.bigquery_process", *ports, *data],
            logs=self._logs,
            environment={
                "BQEMU_GCS_LOCAL_ROOT": str(self._objects_folder),
                # DuckDB keeps its extensions in the home folder, the server its uploads in the temporary one.
                "HOME": str(self.folder),
                "TMPDIR": str(self.folder),
            },
        )
        process = Process(program)
        process.wait_until(lambda: answers(f"{self.url}/readyz"), seconds=READY_SECONDS)
        return process
