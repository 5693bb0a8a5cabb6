"""Ends a program when whoever started it is gone, even by SIGKILL.

Started beside every program of the local stack, with the read end of a pipe as its standard input. Its starter never
writes to that pipe, so reading from it returns only when the starter has died. It is run by path, in isolated mode,
and imports nothing of ours, so that it costs a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time

STEP_SECONDS = 0.05


def main(leader: int, end_signal: int, grace_seconds: float) -> None:
    """Wait for the end of the pipe, then end the process group of `leader`, politely at first."""
    while os.read(0, 1):
        pass
    os.kill(leader, end_signal)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        os.killpg(leader, 0)
        time.sleep(STEP_SECONDS)
    os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    except ProcessLookupError:
        sys.exit(0)
