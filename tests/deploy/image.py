"""Follows the Dockerfile's steps in a folder, because no Docker engine is needed for what they say.

`/venv` and `/app` are folders in the image's own folder; a stage that copies from another finds it there already.
What changes the machine (a new user) is left out.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import shutil
import string
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from run.local.processes import Identity, as_user
from tests.deploy.files import ROOT, Instruction, read_dockerfile

CHANGES_THE_MACHINE = ("useradd",)
#: Exists on every system and owns nothing, as the image's own user.
NOBODY = "nobody"


@dataclass
class Image:
    """What the Dockerfile makes, in `folder`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    command: list[str] = field(default_factory=list)

    @classmethod
    def build(cls, folder: Path) -> Image:
        """Follow every instruction; raises CalledProcessError when a RUN fails."""
        image = cls(folder)
        _provide_python(folder / "usr/local/bin")
        for instruction in read_dockerfile():
            image._follow(instruction)
        return image

    @property
    def app(self) -> Path:
        return self.folder / "app"

    def start(self, command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command with the image's environment and this one only, as somebody who owns nothing if we may."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [self._here(word) for word in command],
                cwd=self.folder / self.workdir.lstrip("/"),
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_somebody_else(),
            )

    def call(self, command: list[str], environment: dict[str, str], log: Path) -> int:
        """Run a command to its end, and return its exit status."""
        return self.start(command, environment, log).wait(timeout=120)

    def _follow(self, instruction: Instruction) -> None:
        match instruction.name:
            case "FROM":
                self.environment = {"PATH": f"{self.folder}/usr/local/bin:/usr/bin:/bin"}
                self.workdir = "/"
            case "RUN":
                self._run(instruction.text)
            case "COPY":
                self._copy(instruction.words)
            case "ENV":
                self.environment |= self._assignments(instruction.words)
            case "WORKDIR":
                self.workdir = instruction.text
                (self.folder / self.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "CMD":
                self.command = instruction.words
            case "USER":
                pass
            case other:
                raise AssertionError(f"the Dockerfile has an instruction that is not followed here: {other}")

    def _run(self, text: str) -> None:
        if shlex.split(text)[0] in CHANGES_THE_MACHINE:
            return
        subprocess.run(
            ["sh", "-c", self._here(text)],
            cwd=self.folder / self.workdir.lstrip("/"),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            check=True,
        )

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            return
        *sources, target = words
        into = self.folder / self.workdir.lstrip("/") / target.lstrip("/")
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=_left_out)
            else:
                assert not _is_left_out(ROOT / source), f".dockerignore keeps {source} from the builder"
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)

    def _assignments(self, words: list[str]) -> dict[str, str]:
        pairs = (word.split("=", 1) for word in words)
        return {name: string.Template(self._here(value)).substitute(self.environment) for name, value in pairs}

    def _here(self, text: str) -> str:
        for place in ("/venv", "/app", "/build"):
            text = text.replace(place, f"{self.folder}{place}")
        return text


def _provide_python(folder: Path) -> None:
    # The base image has python on its PATH; some systems only call it python3.
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))


def _somebody_else() -> Identity:
    # A Python in a closed home, such as root's, can be started by its owner only.
    is_open = all(folder.stat().st_mode & 0o001 for folder in Path(sys.base_prefix).parents)
    return as_user(NOBODY) if os.geteuid() == 0 and is_open else {}


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if _is_left_out(Path(folder) / name)}


def _is_left_out(path: Path) -> bool:
    # The last pattern that matches a path, or a folder above it, decides.
    relative = path.relative_to(ROOT)
    candidates = [str(relative), *(str(parent) for parent in relative.parents)]
    answer = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if line.startswith("#") or not pattern:
            continue
        names = [name.rpartition("/")[2] for name in candidates] if pattern.startswith("**/") else candidates
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            answer = not line.startswith("!")
    return answer
