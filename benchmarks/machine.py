"""Facts about the machine, without which no figure says anything."""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from sqlalchemy import text

from database.sessions import Database
from run.local.postgres import Postgres

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
#: A disk is asked this often how long it takes to keep a page of Postgres's.
SYNCS = 200
PAGE = b"\0" * 8192


def facts(postgres: Postgres) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processors": psutil.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(postgres.folder),
        "fdatasync_ms": round(_fdatasync_ms(postgres.folder), 3),
        "python": f"{platform.python_version()}{'' if _is_optimized() else ', built without --enable-optimizations'}",
        "postgres": _settings(postgres),
        "commit": _commit(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _is_optimized() -> bool:
    return "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")


def _file_system(folder: Path) -> str:
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype


def _fdatasync_ms(folder: Path) -> float:
    path = folder / "fdatasync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.seek(0)
            file.write(PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return 1000 * median(times)


def _settings(postgres: Postgres) -> dict[str, str]:
    database = Database(postgres.url())
    try:
        return {name: _setting(database, name) for name in SETTINGS}
    finally:
        database.close()


def _setting(database: Database, name: str) -> str:
    return database.transact(lambda tx: str(tx.scalar(text(f"SHOW {name}"))))


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], check=False, capture_output=True, text=True, cwd=ROOT)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "run", "database", "migrations") else ""
    return f"{git('rev-parse', 'HEAD')}{changed}"
