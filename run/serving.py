"""How gunicorn serves, wherever it does: `gunicorn --config python:run.serving`.

Cloud Run ends an instance by SIGTERM, and by SIGKILL 10 s later. From SIGTERM on gunicorn takes no connections, and a
sweep begins nothing more; requests that are under way get some seconds to end in, and what has not ended shortly before
gunicorn gives up is handed back, so that another instance goes on with it at once instead of waiting for a lease to run
out.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any

from run.settings import Listening

logger = logging.getLogger(__name__)

HAND_BACK_AFTER_SECONDS = 7.0

_listening = Listening.from_environment()

# From here on, gunicorn's own names: https://docs.gunicorn.org/en/stable/settings.html
wsgi_app = "run.main:app"
bind = f"0.0.0.0:{_listening.port}"
#: One, because Cloud Run adds instances.
workers = 1
worker_class = "gthread"
threads = _listening.threads
#: None, because Pub/Sub's ack deadline is the limit of a request.
timeout = 0
graceful_timeout = 8
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """Have the worker's service begin nothing more after SIGTERM, and hand back in time what it still works on."""
    service = getattr(worker.wsgi, "extensions", {}).get("service")
    if service is not None:
        _call_after_sigterm(service.ending.set, service.shut_down, HAND_BACK_AFTER_SECONDS)


def _call_after_sigterm(begin_to_end: Callable[[], None], shut_down: Callable[[], None], seconds: float) -> None:
    """On SIGTERM do what gunicorn does, and call the one at once, the other so many seconds later if it still runs."""
    # A signal may come between any two steps of the main thread: of all that wakes a thread, only this queue may be
    # used there whatever was interrupted.
    terminated: SimpleQueue[None] = SimpleQueue()

    def wait_and_call() -> None:
        terminated.get()
        begin_to_end()
        time.sleep(seconds)
        try:
            shut_down()
        except Exception:  # what is not handed back is taken over when its lease has run out
            logger.exception("could not hand back what is under way")

    def handle(number: int, frame: FrameType | None) -> None:
        terminated.put(None)
        if callable(gunicorns):
            gunicorns(number, frame)

    threading.Thread(target=wait_and_call, name="shutdown", daemon=True).start()
    gunicorns = signal.signal(signal.SIGTERM, handle)
    # As gunicorn has it: the signal does not interrupt the system calls of requests.
    signal.siginterrupt(signal.SIGTERM, False)
