"""What outlives a process: the topic, the world outside, and which requests have been answered. A file of lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Journal:
    """Every entry is one write to the file's end, so that it is there whole when its writer dies after it."""

    path: Path

    def write(self, what: str, **values: Any) -> None:
        """Add an entry."""
        line = json.dumps({"what": what, **values}) + "\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def begin(self, before: Path | None = None) -> None:
        """Be empty, or begin with what another journal holds."""
        self.path.write_bytes(b"" if before is None else before.read_bytes())

    def read(self, what: str) -> list[dict[str, Any]]:
        """All entries of one sort, oldest first."""
        entries = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [entry for entry in entries if entry["what"] == what]

    def holds(self, what: str, **values: Any) -> bool:
        """Whether there is an entry with these values."""
        return any(values.items() <= entry.items() for entry in self.read(what))

    def next_message(self) -> tuple[int, dict[str, Any]] | None:
        """The oldest message of the topic that has not been acknowledged, with its number."""
        acknowledged = {entry["number"] for entry in self.read("acknowledged")}
        for number, entry in enumerate(self.read("published")):
            if number not in acknowledged:
                return number, entry["message"]
        return None
