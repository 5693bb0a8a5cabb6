"""The service itself as Cloud Run runs it: one gunicorn worker with threads, and a port that outlives it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from run.local.ports import LOOPBACK, ReservedPort
from run.local.processes import Process, Program, answers, started
from run.settings import DEFAULT_THREADS

THREADS = DEFAULT_THREADS
READY_SECONDS = 60


class Service:
    """A gunicorn of the service (or of another `application`) at `url`, ready when `GET /health` says 200; for `with`.

    Instances that are given a `shared` port share the connections there, and each has a port of its own beside it.
    The address is known, and connections to it are refused, before the start and between `stop` or `kill` and the
    next `start`. Raises StartFailed.
    """

    def __init__(
        self,
        logs: Path,
        environment: Mapping[str, str],
        *,
        port: ReservedPort | None = None,
        shared: ReservedPort | None = None,
        application: str | None = None,
        threads: int = THREADS,
    ) -> None:
        self._port = port or ReservedPort()
        self._ports = [self._port] if shared is None else [self._port, shared]
        self._logs = logs
        self._environment = environment
        self._application = application
        self._threads = threads
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port.number}"

    @property
    def log(self) -> Path:
        return self._logs / "service.log"

    def start(self) -> None:
        """Start the service, unless it runs, and return when it is ready."""
        if self._process is None or self._process.has_ended:
            self._process = started(self._start)

    def stop(self) -> None:
        """End the service as Cloud Run does: SIGTERM, and SIGKILL after 10 s."""
        if self._process is not None:
            self._process.end()

    def close(self) -> None:
        """End the service and give its port back."""
        self.stop()
        self._port.close()

    def kill(self) -> None:
        """End the service by SIGKILL, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop the service and start it again on the same address."""
        self.stop()
        self.start()

    def _start(self) -> Process:
        listening = [*(f"--bind={LOOPBACK}:{port.number}" for port in self._ports), "--reuse-port"]
        application = [] if self._application is None else [self._application]
        program = Program(
            name="service",
            arguments=[sys.executable, "-m", "gunicorn", "--config=python:run.serving", *listening, *application],
            logs=self._logs,
            environment={**self._environment, "PORT": str(self._port.number), "THREADS": str(self._threads)},
        )
        process = Process(program)
        process.wait_until(lambda: answers(f"{self.url}/health"), seconds=READY_SECONDS)
        return process
