"""The files of a deployment, read for the tests: the Dockerfile, cloudbuild.yaml, the example environment."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
EXAMPLE = DEPLOY / "environment.example.env"


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, such as `COPY run/ run/`."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form or of the plain one."""
        words: list[str] = json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)
        return words


def read_dockerfile() -> list[Instruction]:
    """Return the instructions of the Dockerfile in their order."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Instruction(*line.split(maxsplit=1)) for line in lines]


def last_instruction(name: str) -> Instruction:
    """Return the one that counts where an instruction may be given again."""
    return [instruction for instruction in read_dockerfile() if instruction.name == name][-1]


def read_cloudbuild() -> dict[str, Any]:
    """Return cloudbuild.yaml as it is parsed."""
    build: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    return build


def step(name: str) -> dict[str, Any]:
    """Return the step of cloudbuild.yaml with this id."""
    found: dict[str, Any] = next(step for step in read_cloudbuild()["steps"] if step["id"] == name)
    return found


def flags(name: str) -> dict[str, list[str]]:
    """Return the flags of a step with all values that are given to each, in order."""
    found: dict[str, list[str]] = {}
    for word in step(name)["args"]:
        flag, _, value = word.partition("=")
        found.setdefault(flag, []).append(value)
    return found


def environment_keys() -> list[str]:
    """Return the keys of the example environment in their order."""
    return re.findall(r"^([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)
