"""Cloud Storage with preconditions: `python -m tests.integration.kinds.strict_storage FOLDER HOST PORT BUCKET...`.

The server of the local stack ignores `ifGenerationMatch` and its like, and forgets the metadata that a rewrite brings.
Here both are as https://docs.cloud.google.com/storage/docs/request-preconditions says. One request at a time is served,
so a check and what it guards are one step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import objects

from run.local import storage_process
from run.local.ports import LOOPBACK, free_port
from run.local.processes import Process, Program, answers, started

Handler = Callable[..., None]


class _Refused(Exception):  # It is an answer.
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Kept:
    """A response that waits until the metadata of a rewrite is in."""

    status: Any = None
    resource: Any = None

    def json(self, resource: Any) -> None:
        self.resource = resource


def _generation(storage: Any, bucket: str, name: str) -> int:
    found = storage.objects.get(bucket, {}).get(name)
    return int(found["generation"]) if found else 0


def _check(request: Any, live: int, match: str, generation: str | None = None) -> None:
    wanted = request.query.get(match)
    if generation and (exact := request.query.get(generation)) and int(exact[0]) != live:
        raise _Refused(404)
    if wanted and int(wanted[0]) != live:
        raise _Refused(412)


def _guarded(handler: Handler, *, is_rewrite: bool = False) -> Handler:
    def handle(request: Any, response: Any, storage: Any) -> None:
        params = request.params
        live = _generation(storage, params["bucket_name"], params["object_id"])
        try:
            if is_rewrite:
                if not live:
                    raise _Refused(404)
                _check(request, live, "ifSourceGenerationMatch", "sourceGeneration")
                target = _generation(storage, params["dest_bucket_name"], params["dest_object_id"])
                _check(request, target, "ifGenerationMatch")
                _rewrite(handler, request, response, storage)
            else:
                if not live:
                    raise _Refused(404)
                _check(request, live, "ifGenerationMatch", "generation")
                handler(request, response, storage)
        except _Refused as refused:
            response.status = HTTPStatus(refused.status)

    return handle


def _rewrite(handler: Handler, request: Any, response: Any, storage: Any) -> None:
    kept = _Kept()
    handler(request, kept, storage)
    if kept.resource is None:
        response.status = kept.status
        return
    resource = kept.resource["resource"]
    # A body takes the place of what the source had: https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite
    resource |= {
        key: request.data[key] for key in ("metadata", "contentType", "contentEncoding") if key in request.data
    }
    storage.patch_object(resource["bucket"], resource["name"], resource)
    response.json(kept.resource)


_GUARDS: dict[Any, Handler] = {
    objects.get: _guarded(objects.get),
    objects.delete: _guarded(objects.delete),
    objects.rewrite: _guarded(objects.rewrite, is_rewrite=True),
}


def main(folder: str, host: str, port: int, buckets: list[str]) -> None:
    """Serve until SIGTERM."""
    server.HANDLERS = tuple(
        (path, {method: _GUARDS.get(handler, handler) for method, handler in handlers.items()})
        for path, handlers in server.HANDLERS
    )
    storage_process.main(folder, host, port, buckets)


def start(folder: Path, logs: Path, buckets: tuple[str, ...]) -> tuple[Process, str]:
    """Start the server; the objects lie as files below `folder/objects`. Returns it with its address."""
    folder.mkdir(parents=True, exist_ok=True)
    address = ""

    def attempt() -> Process:
        nonlocal address
        port = free_port()
        address = f"http://{LOOPBACK}:{port}"
        arguments = [sys.executable, "-m", "tests.integration.kinds.strict_storage", str(folder), LOOPBACK, str(port)]
        process = Process(Program("strict_storage", [*arguments, *buckets], logs, {"STORAGE_DIR": "objects"}))
        process.wait_until(lambda: answers(f"{address}/storage/v1/b"), seconds=20)
        return process

    return started(attempt), address


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
