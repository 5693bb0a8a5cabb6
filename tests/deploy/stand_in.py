"""Stands in for gcloud and bq: keeps every command in $STAND_IN_LOG, and finds again what was created before.

The scripts under test run it with the name of the program that it stands in for as its first argument.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

LOG = Path(os.environ["STAND_IN_LOG"])
PROJECT_NUMBER = "123456789012"

Command = list[str]


def main(command: Command) -> int:
    before = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
    given = _with_flags_file(command)
    with LOG.open("a") as log:
        log.write(json.dumps(given) + "\n")
    if "--data-file=-" in command:
        LOG.with_suffix(".secret").write_text(sys.stdin.read())
    answer = _answer(command, before)
    if answer is None:
        return 1
    sys.stdout.write(answer)
    return 0


def _with_flags_file(command: Command) -> Command:
    # The file is a pipe of the shell's, so what it says is read while the command runs.
    texts = [Path(word.partition("=")[2]).read_text() for word in command if word.startswith("--flags-file=")]
    return [*command, *(f"flags-file: {text.strip()}" for text in texts)]


def _answer(command: Command, before: list[Command]) -> str | None:
    match command[1:]:
        case ["projects", "describe", *_]:
            answer: str | None = PROJECT_NUMBER
        case ["storage", "service-agent", *_]:
            answer = "service-agent@gs-project-accounts.iam.gserviceaccount.com"
        case ["secrets", "versions", "list", secret, *_]:
            answer = "1" if any(past[1:5] == ["secrets", "versions", "add", secret] for past in before) else ""
        case ["storage", "buckets", "notifications", "list", *_]:
            answer = json.dumps([past for past in before if past[1:5] == [*command[1:4], "create"]])
        case ["secrets", "versions", "access", *_]:
            answer = os.environ["STAND_IN_SECRET"]
        case [*words] if "describe" in words:
            answer = "found" if any(_creates(past, command) for past in before) else None
        case _:
            answer = ""
    return answer


def _creates(past: Command, describe: Command) -> bool:
    at = describe.index("describe")
    if past[:at] != describe[:at] or "create" not in past[at : at + 1]:
        return False
    names = [word for word in past[at + 1 :] if not word.startswith("--")]
    # A service account is created by its short name; a job of the scheduler names its target first.
    return describe[at + 1].partition("@")[0] in names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
