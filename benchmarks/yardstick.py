"""pgbench's bare hop on the same Postgres: what two transactions a task cost when nothing else is done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from run.local.postgres import SUPERUSER, Postgres, embedded_binaries

SCRIPTS = Path(__file__).parent / "pgbench"
DATABASE = "bench_hop"
CLIENTS = 8
THREADS = 2


class Yardstick:
    """A database with pgbench's tables."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        postgres.drop_database(DATABASE)
        postgres.create_database(DATABASE)
        self._run("psql", "--no-psqlrc", "--quiet", "--file", str(SCRIPTS / "setup.sql"))

    def hops_per_second(self, seconds: int = 5) -> float:
        """How many bare hops eight clients make in a second."""
        load = ["--client", str(CLIENTS), "--jobs", str(THREADS), "--time", str(seconds)]
        said = self._run("pgbench", "--no-vacuum", "--protocol", "prepared", *load, "--file", str(SCRIPTS / "hop2.sql"))
        [rate] = re.findall(r"^tps = ([\d.]+) ", said, re.MULTILINE)
        return float(rate)

    def _run(self, tool: str, *arguments: str) -> str:
        place = ["-h", str(self._postgres.socket_folder), "-U", SUPERUSER]
        # pgbench takes the database's name as its last word only, psql anywhere.
        command = [str(embedded_binaries() / tool), *place, *arguments, DATABASE]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
