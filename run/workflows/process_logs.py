"""Where the tasks of a Process speak: what a function logs and prints lands in the log file of its task."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TextIO

from run.redaction import redacted
from run.workflows.python_tasks import Task

_speaking: ContextVar[TaskLog | None] = ContextVar("task_log", default=None)


class LogFile:
    """One open file; it takes whole lines, so that several tasks may share it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        self._lock = Lock()

    def write(self, lines: str) -> None:
        """Append lines; what comes after the file was closed, from a thread that a task has left behind, is lost."""
        with self._lock:
            if not self._file.closed:
                self._file.write(str(redacted(lines)))
                self._file.flush()

    def close(self) -> None:
        with self._lock:
            self._file.close()


class TaskLog:
    """The lines of one task in a file."""

    def __init__(self, task: str, file: LogFile) -> None:
        self._task = task
        self._file = file
        self._unfinished: dict[str, str] = {}

    def say(self, level: str, text: str) -> None:
        """Write a message of one line or more."""
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        self._file.write(f"{moment}Z {level:<7} {self._task}: {text}\n")

    def take(self, stream: str, text: str) -> None:
        """Take what is printed, piece by piece, and write every line as soon as it is whole."""
        *lines, self._unfinished[stream] = (self._unfinished.get(stream, "") + text).split("\n")
        for line in lines:
            self.say(stream, line)

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Whatever this thread logs and prints inside is this task's."""
        token = _speaking.set(self)
        try:
            yield
        finally:
            for stream, rest in self._unfinished.items():
                if rest:
                    self.take(stream, "\n")
            _speaking.reset(token)


class ProcessLogs:
    """The log files of some tasks, opened and closed together."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._paths = {name: Path(task.log_file).resolve() for name, task in tasks.items()}
        self._files: dict[Path, LogFile] = {}
        self._logs: dict[str, TaskLog] = {}

    @property
    def are_open(self) -> bool:
        return bool(self._logs) or not self._paths

    def of(self, task: str) -> TaskLog:
        return self._logs[task]

    def open(self) -> None:
        """Open every file, a shared one once; raises OSError and leaves none open when one cannot be written."""
        if self._logs:
            raise RuntimeError("the log files of this process are open already")
        try:
            for path in self._paths.values():
                if path not in self._files:
                    self._files[path] = LogFile(path)
        except OSError:
            self._close_files()
            raise
        self._logs = {name: TaskLog(name, self._files[path]) for name, path in self._paths.items()}
        _ears.open()

    def close(self) -> None:
        """Close every file; closing again does nothing."""
        if self._logs:
            self._logs = {}
            _ears.close()
        self._close_files()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}


class _Ears:
    """Listens to the root logger and to the standard streams as long as any logs are open.

    There is one for all processes: each line belongs to the task that is speaking in its thread, and never to another
    process with a task of the same name.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._handler = _RecordsOfTasks()
        self._level = logging.NOTSET
        self._streams: dict[str, _StreamOfTasks] = {}

    def open(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            root = logging.getLogger()
            self._level = root.level
            # What a function tells as INFO is what its log file is for.
            root.setLevel(min(root.level, logging.INFO))
            root.addHandler(self._handler)
            for name, label in (("stdout", "OUT"), ("stderr", "ERR")):
                self._streams[name] = _StreamOfTasks(getattr(sys, name), label)
                setattr(sys, name, self._streams[name])

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            root = logging.getLogger()
            root.removeHandler(self._handler)
            root.setLevel(self._level)
            for name, stream in self._streams.items():
                # Somebody who has replaced it meanwhile will put ours back, which then only passes on.
                if getattr(sys, name) is stream:
                    setattr(sys, name, stream.original)


class _RecordsOfTasks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log = _speaking.get()
        if log is not None:
            try:
                log.say(record.levelname, self.format(record))
            except Exception:  # noqa: BLE001 - as every handler of logging: a line that cannot be made ends no task.
                self.handleError(record)
        elif logging.getLogger().handlers == [self] and record.levelno >= logging.WARNING and logging.lastResort:
            # Without us the root logger had no handler, and Python would show a warning in this way.
            logging.lastResort.handle(record)


class _StreamOfTasks:
    """A standard stream that gives a task's text to its log, and passes everything else on."""

    def __init__(self, original: TextIO, label: str) -> None:
        self.original = original
        self._label = label

    def write(self, text: str) -> int:
        log = _speaking.get()
        if log is None:
            return self.original.write(text)
        log.take(self._label, text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


_ears = _Ears()
