"""Gives the local Cloud Storage server the preconditions, and the metadata of a rewrite, that it leaves out.

Without them an archive copy would overwrite what somebody else has put there, and lose its own metadata, and no test
would see it. Here both are as https://docs.cloud.google.com/storage/docs/request-preconditions and
https://docs.cloud.google.com/storage/docs/json_api/v1/objects/rewrite say. The server answers one request at a time,
so a check and what it guards are one step. Objects have one generation: any other one is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import objects

Handler = Callable[..., None]
Place = tuple[str, str]
_OF_THE_SOURCE = (
    *("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType"),
    *("customTime", "metadata"),
)


class _Refused(Exception):  # It is an answer.
    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class _Kept:
    """A response that waits until the metadata of a rewrite is in."""

    status: Any = None
    resource: Any = None

    def json(self, resource: Any) -> None:
        self.resource = resource


def install() -> None:
    """Put a guard before every request that reads or changes an object."""
    guards: dict[Any, Handler] = {
        objects.get: _guarded(objects.get, _named),
        objects.download: _guarded(objects.download, _named),
        objects.delete: _guarded(objects.delete, _named),
        objects.patch: _guarded(objects.patch, _named),
        objects.insert: _guarded(objects.insert, _uploaded, writes=True),
        objects.upload_partial: _guarded(objects.upload_partial, _uploaded, writes=True),
        objects.compose: _guarded(objects.compose, _named, writes=True),
        objects.copy: _guarded(objects.copy, _destination, _named, writes=True),
        objects.rewrite: _guarded(_rewrite, _destination, _named, writes=True),
    }
    server.HANDLERS = tuple(
        (path, {method: guards.get(handler, handler) for method, handler in handlers.items()})
        for path, handlers in server.HANDLERS
    )


def _guarded(
    handler: Handler,
    target: Callable[[Any, Any], Place],
    source: Callable[[Any, Any], Place] | None = None,
    *,
    writes: bool = False,
) -> Handler:
    def handle(request: Any, response: Any, storage: Any, *_: Any) -> None:
        try:
            if source:
                _check(request, storage, source(request, storage), must_exist=True, prefix="ifSource")
            _check(request, storage, target(request, storage), must_exist=not writes)
        except _Refused as refused:
            _answer(response, refused)
        else:
            handler(request, response, storage)

    return handle


def _check(request: Any, storage: Any, place: Place, *, must_exist: bool, prefix: str = "if") -> None:
    bucket, name = place
    live: Mapping[str, Any] = storage.objects.get(bucket, {}).get(name, {})
    exact = _asked(request, "sourceGeneration" if prefix == "ifSource" else "generation")
    missing = must_exist and not live and not request.query.get("softDeleted")
    if missing or (live and exact is not None and exact != int(live["generation"])):
        raise _Refused(HTTPStatus.NOT_FOUND, "notFound", f"No such object: {bucket}/{name}")
    for what in ("Generation", "Metageneration"):
        now = int(live.get(what.lower(), 0))
        if _asked(request, f"{prefix}{what}Match") not in {None, now}:
            raise _unmet(HTTPStatus.PRECONDITION_FAILED)
        if _asked(request, f"{prefix}{what}NotMatch") == now:
            raise _unmet(HTTPStatus.NOT_MODIFIED if request.method == "GET" else HTTPStatus.PRECONDITION_FAILED)


def _unmet(status: HTTPStatus) -> _Refused:
    return _Refused(status, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def _asked(request: Any, parameter: str) -> int | None:
    given = request.query.get(parameter)
    return int(given[0]) if given else None


def _answer(response: Any, refused: _Refused) -> None:
    response.status = refused.status
    if refused.status is not HTTPStatus.NOT_MODIFIED:
        one = {"domain": "global", "reason": refused.reason, "message": refused.message}
        response.json({"error": {"code": refused.status.value, "message": refused.message, "errors": [one]}})


def _named(request: Any, _: Any) -> Place:
    return request.params["bucket_name"], request.params["object_id"]


def _destination(request: Any, _: Any) -> Place:
    return request.params["dest_bucket_name"], request.params["dest_object_id"]


def _uploaded(request: Any, storage: Any) -> Place:
    bucket = request.params["bucket_name"]
    upload = request.query.get("upload_id")
    if upload:
        return bucket, storage.resumable.get(upload[0], {}).get("name", "")
    if "name" in request.query:
        return bucket, request.query["name"][0]
    described: Any = request.data if isinstance(request.data, dict) else {}
    return bucket, described.get("meta", described).get("name", "")


def _rewrite(request: Any, response: Any, storage: Any) -> None:
    kept = _Kept()
    objects.rewrite(request, kept, storage)
    if kept.resource is None:
        response.status = kept.status
        return
    resource = kept.resource["resource"]
    if request.data:  # A body takes the place of all that the source had.
        for key in _OF_THE_SOURCE:
            resource.pop(key, None)
        resource |= {key: request.data[key] for key in _OF_THE_SOURCE if request.data.get(key) is not None}
        resource.setdefault("contentType", "application/octet-stream")
        storage.patch_object(resource["bucket"], resource["name"], resource)
    response.json(kept.resource)
