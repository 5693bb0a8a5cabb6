"""The outside world: it survives everything that happens to the service, and writes down what the tasks do to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from database.keys import WHOLE

#: How long a job goes on after it was cancelled.
SECONDS_TO_END = 1.0


class Address(NamedTuple):
    """One task of one batch, by its names, or one element of it."""

    workflow: str
    batch: str
    task: str
    element: int = WHOLE

    def __str__(self) -> str:
        element = "" if self.element == WHOLE else f"[{self.element}]"
        return f"{self.workflow} {self.batch} {self.task}{element}"


class What(StrEnum):
    """What can be done to the outside world."""

    #: A plain piece of work: nothing keeps it from being done again.
    BEGIN = "begin"
    END = "end"
    #: A job under a key of its own: the first insert creates it, every other one finds it.
    INSERT = "insert"
    ADOPT = "adopt"
    DONE = "done"
    #: It has been cancelled, and has ended.
    CANCEL = "cancel"
    #: Work that is handed over, and said to be done by a message.
    HAND_OVER = "hand over"
    TELL = "tell"


@dataclass(frozen=True)
class Deed:
    """Something that was done to the outside world; `number` is its place in the order of all deeds."""

    number: int
    #: Seconds of the clock that the machine's Postgres goes by, too.
    at: float
    what: What
    address: Address
    attempt: int
    #: The process group of the service that did it; 0 for the outside world itself.
    owner: int


@dataclass
class Job:
    """Work under a key, which goes on without whoever has begun it."""

    address: Address
    attempt: int
    ends_at: float
    fails: bool
    is_done: bool = False
    #: When somebody first wanted it to end.
    cancelled_at: float | None = None


@dataclass
class World:
    """An HTTP server that the kinds of the chaos run speak with; for `with`."""

    deeds: list[Deed] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    #: The attempts that were told to come again.
    refused: set[tuple[Address, int]] = field(default_factory=set)
    #: Called, outside the lock, with every deed.
    listeners: list[Callable[[Deed], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        #: Who has begun the plain work that has not ended.
        self._begun: dict[Address, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def do(self, what: What, address: Address, attempt: int, owner: int) -> None:
        """Write a deed down."""
        with self._lock:
            deed = self._write(what, address, attempt, owner)
        self._announce(deed)

    def insert(self, key: str, order: Mapping[str, Any], address: Address, attempt: int, owner: int) -> dict[str, Any]:
        """Create the job of this key, or find it; how it stands."""
        with self._lock:
            known = key in self.jobs
            if not known:
                ends_at = time.time() + float(order["seconds"])
                self.jobs[key] = Job(address, attempt, ends_at, bool(order["fails"]))
            deed = self._write(What.ADOPT if known else What.INSERT, address, attempt, owner)
        self._announce(deed)
        return self.look(key)

    def cancel(self, key: str, address: Address, attempt: int, owner: int) -> bool:
        """End the job of this key, which takes a moment; whether it has ended.

        If there is none, nobody inserts it from now on.
        """
        with self._lock:
            job = self.jobs.setdefault(key, Job(address, attempt, 0, fails=True))
            job.cancelled_at = job.cancelled_at or time.time()
            has_ended = time.time() >= job.cancelled_at + SECONDS_TO_END
            if has_ended:
                self._write(What.CANCEL, address, attempt, owner)
            return has_ended

    def look(self, key: str) -> dict[str, Any]:
        """How the job of this key stands."""
        with self._lock:
            job = self.jobs[key]
            is_cancelled = job.cancelled_at is not None
            if not (job.is_done or is_cancelled) and time.time() >= job.ends_at:
                job.is_done = True
                self._write(What.DONE, job.address, job.attempt, 0)
            return {"done": job.is_done or is_cancelled, "failed": job.fails or is_cancelled}

    def refuse(self, address: Address, attempt: int) -> bool:
        """Whether this attempt has to come again: only the first time that it comes."""
        with self._lock:
            is_first = (address, attempt) not in self.refused
            self.refused.add((address, attempt))
            return is_first

    def in_hands_of(self, owner: int, workflow: str) -> set[Address]:
        """The plain work of a workflow that this process has begun last and that has not ended."""
        with self._lock:
            return {address for address, last in self._begun.items() if last == owner and address.workflow == workflow}

    def _write(self, what: What, address: Address, attempt: int, owner: int) -> Deed:
        deed = Deed(len(self.deeds), time.time(), what, address, attempt, owner)
        self.deeds.append(deed)
        if what is What.BEGIN:
            self._begun[address] = owner
        elif what is What.END:
            self._begun.pop(address, None)
        return deed

    def _announce(self, deed: Deed) -> None:
        for listener in self.listeners:
            listener(deed)

    def answer(self, path: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request of a kind."""
        if path == "/look":
            return self.look(str(told["key"]))
        address = Address(told["workflow"], told["batch"], told["task"], int(told["element"]))
        attempt, owner = int(told["attempt"]), int(told["owner"])
        if path == "/refuse":
            return {"refused": self.refuse(address, attempt)}
        if path == "/insert":
            return self.insert(str(told["key"]), told, address, attempt, owner)
        if path == "/cancel":
            return {"ended": self.cancel(str(told["key"]), address, attempt, owner)}
        self.do(What(told["what"]), address, attempt, owner)
        return {}


def _handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(world.answer(self.path, told)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The deeds are the log."""

        def handle_one_request(self) -> None:
            # Whoever asked may have been killed before it had its answer.
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

    return Handler
