"""A terminal in which gcloud and bq keep what they are told, and nothing reaches Google."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, EXAMPLE, ROOT

STAND_IN = Path(__file__).with_name("stand_in.py")


@dataclass(frozen=True)
class Terminal:
    """Runs the scripts of deploy/ with an environment file of its own."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "test.env"

    @property
    def secret(self) -> str:
        """What was put into Secret Manager."""
        return (self.folder / "log.secret").read_text()

    def edit(self, **values: str | None) -> None:
        """Change values of the environment file; None takes the key away."""
        lines = [line for line in self.file.read_text().splitlines() if line.partition("=")[0] not in values]
        self.file.write_text("\n".join([*lines, *(f"{key}={value}" for key, value in values.items() if value), ""]))

    def run(
        self, script: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script on the environment file, and return how it ended."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        given = {"PATH": path, "STAND_IN_LOG": str(self.folder / "log"), "GRANT_PAUSE_SECONDS": "0"}
        command = [str(DEPLOY / script), str(self.file), *arguments]
        return subprocess.run(
            command, env={**given, **(environment or {})}, cwd=ROOT, capture_output=True, text=True, check=False
        )

    def commands(self) -> list[list[str]]:
        """Return what was asked of gcloud and bq so far."""
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return _furnished(tmp_path)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A terminal in which setup.sh has run once on the example, for tests that only look at what it asked for."""
    terminal = _furnished(tmp_path_factory.mktemp("asked"))
    done = terminal.run("setup.sh")
    assert done.returncode == 0, done.stderr
    return terminal


def _furnished(folder: Path) -> Terminal:
    (folder / "bin").mkdir()
    for program in ("gcloud", "bq"):
        shim = folder / "bin" / program
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {STAND_IN} {program} "$@"\n')
        shim.chmod(0o755)
    (folder / "test.env").write_text(EXAMPLE.read_text())
    return Terminal(folder)
