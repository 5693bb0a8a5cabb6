"""What tests see of processes, which may end at any moment, also while somebody looks at them."""

from __future__ import annotations

from pathlib import Path

import psutil

#: Dead, and not yet, or just now, waited for by its parent: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
_DEAD = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def is_alive(process: psutil.Process | int) -> bool:
    """Whether the process, or the one with this number, is there and no zombie."""
    try:
        seen = psutil.Process(process) if isinstance(process, int) else process
        return seen.status() not in _DEAD
    except psutil.NoSuchProcess:
        return False


def children_running(module: str) -> list[psutil.Process]:
    """Our own children that are alive and were started for this module."""
    return [child for child in psutil.Process().children() if is_alive(child) and module in _command(child)]


def pids_in(path: Path) -> list[int]:
    """The process ids that somebody has written down, one on each line."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
