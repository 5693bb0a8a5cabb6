"""The statements of a service, as Postgres itself logs and times them.

No extension is needed for that, so that it works with the embedded Postgres too. A time is the server's: from the
arrival of a statement to its end, without the way there and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.room import Room

#: What begins and ends transactions; a statement that prepares others is run once for each connection.
FRAME = ("BEGIN", "COMMIT", "ROLLBACK")
#: Ours send it along with their first statement.
BEGINS = "BEGIN; "
ONCE = ("PREPARE", "SET ")
#: Every entry begins with the time and, in brackets, the number of the connection's process.
_ENTRY = re.compile(r"[^\[\t]+\[(\d+)\] LOG:  duration: ([\d.]+) ms  statement: (.*)")
_DETAIL = re.compile(r"[^\[\t]+\[\d+\] DETAIL:  (.*)")


@dataclass
class Statement:
    """One statement: which connection has sent it, how long it took, and its text with what it was prepared from."""

    connection: int
    milliseconds: float
    text: str
    begins: bool = False

    @property
    def is_frame(self) -> bool:
        return self.text.lstrip().startswith(FRAME)

    @property
    def is_run_once(self) -> bool:
        return self.text.lstrip().startswith(ONCE)


@dataclass
class Logged:
    """The statements between two moments, in the order of their ends."""

    statements: list[Statement] = field(default_factory=list)

    @property
    def own(self) -> list[Statement]:
        """All but those that begin and end transactions or are run once for each connection."""
        return [statement for statement in self.statements if not (statement.is_frame or statement.is_run_once)]

    def transactions(self) -> list[list[Statement]]:
        """The statements, transaction by transaction; one outside any is one by itself."""
        done: list[list[Statement]] = []
        under_way: dict[int, list[Statement]] = {}
        for statement in self.statements:
            begun = under_way.get(statement.connection)
            if statement.begins:
                under_way[statement.connection] = [statement]
            elif begun is None:
                done.append([statement])
            else:
                begun.append(statement)
                if statement.is_frame:
                    done.append(under_way.pop(statement.connection))
        return done


@contextmanager
def logged_statements(room: Room) -> Iterator[Logged]:
    """The service's statements inside the block, complete when it ends."""
    [(database,)] = room.rows("SELECT current_database()")
    room.change(f"ALTER DATABASE {database} SET log_min_duration_statement = 0")
    # Settings of a database count from the next connection on.
    room.services[0].restart()
    logged = Logged()
    log = room.postgres.folder / "logs" / "postgres.log"
    begin = log.stat().st_size
    try:
        yield logged
        logged.statements += read_statements(_since(log, begin))
    finally:
        room.change(f"ALTER DATABASE {database} RESET log_min_duration_statement")


@contextmanager
def marked(room: Room) -> Iterator[Logged]:
    """The statements inside this block, which is inside `logged_statements`."""
    log = room.postgres.folder / "logs" / "postgres.log"
    logged, begin = Logged(), log.stat().st_size
    yield logged
    logged.statements += read_statements(_since(log, begin))


def read_statements(lines: Sequence[str]) -> list[Statement]:
    """The statements of Postgres's log, in the order of their ends."""
    statements: list[Statement] = []
    for line in lines:
        if entry := _ENTRY.match(line):
            text = entry[3].removeprefix(BEGINS)
            statements.append(Statement(int(entry[1]), float(entry[2]), text, entry[3].startswith("BEGIN")))
        elif statements and (detail := _DETAIL.match(line)):
            statements[-1].text += f" {detail[1]}"
        elif statements and line.startswith("\t"):
            statements[-1].text += f" {line.strip()}"
    return statements


def _since(log: Path, begin: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace").splitlines()
