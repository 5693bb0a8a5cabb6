"""What a child process runs: one function of ours, named `module:function`, on JSON values, in a folder of its own.

`run/kinds/child_process.py` starts it, feeds its standard input and kills it. It imports nothing of the service but the
function's own module, so that it starts at once and has the memory for its work.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

ORDER = "order.json"
RESULT = "result.json"


def main(folder: Path, lifeline: int) -> None:
    """Do what the folder's order says and leave the result, or what the function has raised, beside it."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    _leave(folder, _done(folder))


def _done(folder: Path) -> dict[str, Any]:
    try:
        order = json.loads((folder / ORDER).read_text())
        module, _, name = order["function"].partition(":")
        return {"result": getattr(import_module(module), name)(order["argument"], folder)}
    except Exception as error:  # noqa: BLE001 - whatever the function raises is told to whoever asked for it
        text = "".join(traceback.format_exception(error))
        return {"raised": f"{type(error).__name__}: {error}", "traceback": text}


def _leave(folder: Path, result: dict[str, Any]) -> None:
    # Under another name first: a result that is there is whole.
    unfinished = folder / f"{RESULT}.part"
    unfinished.write_text(json.dumps(result))
    unfinished.replace(folder / RESULT)


def _end_with_parent(lifeline: int) -> None:
    # The parent holds the other end of this pipe and never writes: it is closed when the parent is gone, however.
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
