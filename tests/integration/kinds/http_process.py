"""A request in a process of its own, whose environment google-auth reads: `python -m ... URL` prints what it kept."""

from __future__ import annotations

import json
import sys

from run.clients import Clients
from run.errors import TaskFailure
from run.kinds.http_request import HttpRequest
from run.kinds.kind import Finished, Work
from run.settings import Settings


def main(url: str) -> None:
    """Ask twice, so that it is seen whether a token is kept."""
    settings = Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing")
    kind = HttpRequest(Clients(settings))
    config = kind.config.model_validate({"url": url, "identity": "google"})
    work = Work("w", "2024-03", "ask", 1, "u", values={}, params={}, batch_values={}, files={})
    for _ in range(2):
        try:
            progress = kind.start(config, work)
        except TaskFailure as failure:
            print(json.dumps({"error": str(failure), "details": failure.details}))
        else:
            assert isinstance(progress, Finished)
            print(json.dumps(dict(progress.details)))


if __name__ == "__main__":
    main(sys.argv[1])
