"""Gives the local Cloud Storage server the pages of a listing, which it leaves out.

It lists a whole bucket at once, whatever it is asked for. Here a listing has no more objects than it is asked for and
begins where it is asked to, as https://docs.cloud.google.com/storage/docs/json_api/v1/objects/list says; without such a
question it is whole, also where Cloud Storage would end it after 1,000 objects.
"""

from __future__ import annotations

import base64
from typing import Any

from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import objects


class _Kept:
    """A response that waits until it is cut."""

    status: Any = None
    resource: Any = None

    def json(self, resource: Any) -> None:
        self.resource = resource


def install() -> None:
    """Take the place of the server's own listing."""
    server.HANDLERS = tuple(
        (path, {method: _list if handler is objects.ls else handler for method, handler in handlers.items()})
        for path, handlers in server.HANDLERS
    )


def _list(request: Any, response: Any, storage: Any, *_: Any) -> None:
    kept = _Kept()
    objects.ls(request, kept, storage)
    if kept.resource is None:
        response.status = kept.status
        return
    token, most = _asked(request, "pageToken"), int(_asked(request, "maxResults") or 0)
    after = base64.urlsafe_b64decode(token).decode() if token else ""
    begin = _asked(request, "startOffset") or ""
    items = [item for item in kept.resource["items"] if item["name"] > after and item["name"] >= begin]
    page = items[:most] if most else items
    more = {"nextPageToken": _token(page[-1]["name"])} if len(page) < len(items) else {}
    response.json({**kept.resource, "items": page, **more})


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _asked(request: Any, parameter: str) -> str | None:
    given = request.query.get(parameter)
    return str(given[0]) if given else None
