"""What the demo does with buckets, as whoever delivers files would: put objects in, and look what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from run.errors import Unavailable
from run.local.demo_files import DemoFile

REQUEST_SECONDS = 30


class Buckets:
    """The buckets of the local storage server at `url`. Every method raises Unavailable."""

    def __init__(self, url: str) -> None:
        self._url = url

    def drop(self, bucket: str, file: DemoFile) -> None:
        """Create an object."""
        address = f"{self._url}/upload/storage/v1/b/{bucket}/o"
        with _session(f"did not take gs://{bucket}/{file.name}") as session:
            given = {"uploadType": "media", "name": file.name}
            session.post(address, params=given, data=file.content, timeout=REQUEST_SECONDS).raise_for_status()

    def names(self, bucket: str) -> set[str]:
        """Return the names of all objects."""
        with _session(f"did not list gs://{bucket}") as session:
            listing = session.get(f"{self._url}/storage/v1/b/{bucket}/o", timeout=REQUEST_SECONDS)
            listing.raise_for_status()
        return {resource["name"] for resource in listing.json().get("items", [])}


@contextmanager
def _session(problem: str) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        try:
            yield session
        except requests.RequestException as error:
            raise Unavailable(f"the storage server {problem}: {error}") from error
