"""Holds a whole local stack until it is told to end: `python -m tests.local.holding FOLDER DELIVERY`.

Says `ready` with the environment as JSON in a line of its own, and ends when its standard input does.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from run.local.stack import DeliveryChoice, LocalStack


def hold(folder: Path, delivery: DeliveryChoice) -> None:
    with LocalStack(folder, delivery=delivery, sweep_seconds=0.2, application="tests.local.toy_service:app") as stack:
        stack.environment["PUSHES"] = str(folder / "pushes")
        stack.start_service()
        print("ready", json.dumps(stack.environment), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    # A shell starts its background jobs with SIGINT ignored, and Python would keep it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        hold(Path(sys.argv[1]), "loopback" if sys.argv[2] == "loopback" else "auto")
    except KeyboardInterrupt:
        sys.exit(130)
