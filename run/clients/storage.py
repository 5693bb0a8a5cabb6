"""Cloud Storage: find, list, read, write, copy and delete, each on one generation of an object, with a timeout."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import google_crc32c
from google.api_core import exceptions as api
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from run.clients.google_failures import translated
from run.errors import AcceleratorError, PassingFailure, PermanentFailure

#: As many objects as Cloud Storage puts on a page.
LONGEST_PAGE = 1000
#: Whoever lists has other things to do when Cloud Storage does not answer.
LISTING_SECONDS = 20.0
#: What is read at a time, in bytes.
PIECE = 8 * 1024 * 1024
_ROLE = "roles/storage.objectUser on the bucket"


class Changed(AcceleratorError):
    """An object is not, or no longer, of the generation that the caller asked for."""


@dataclass(frozen=True)
class StoredObject:
    """The live generation of an object; `crc32c` is base64 as Google writes it, `size` is in bytes."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: When this generation was made.
    created: datetime | None = None

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


class Page(NamedTuple):
    """Some objects of a listing, and the token of the next page, if there is one."""

    objects: tuple[StoredObject, ...]
    next_token: str | None


class Storage:
    """A thin client; every method raises PermanentFailure or PassingFailure when Google refuses or does not answer.

    `endpoint` is the address of a local server, which is met without credentials.
    """

    def __init__(
        self, project: str, endpoint: str | None = None, *, call_seconds: float = 60, retry_seconds: float = 60
    ) -> None:
        self._call_seconds = call_seconds
        self._retry = DEFAULT_RETRY.with_timeout(retry_seconds)
        with translated("connecting to Cloud Storage", _ROLE):
            self._client = Client(
                project=project,
                credentials=AnonymousCredentials() if endpoint else None,  # type: ignore[no-untyped-call]
                client_options=ClientOptions(api_endpoint=endpoint) if endpoint else None,
            )

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """The live generation of the object, or None when there is no such object."""
        with translated(f"looking for gs://{bucket}/{name}", _ROLE):
            blob = self._client.bucket(bucket).get_blob(name, timeout=self._call_seconds, retry=self._retry)
        return _stored(blob) if blob else None

    def list_page(
        self, bucket: str, prefix: str = "", page_token: str | None = None, *, start: str = "", size: int = LONGEST_PAGE
    ) -> Page:
        """At most `size` of the live objects whose names begin with `prefix`, in the order of their names.

        The first page begins with the first name that is not before `start`; the others are asked for with the same
        `start`.
        """
        seconds = min(self._call_seconds, LISTING_SECONDS)
        with translated(f"listing gs://{bucket}/{prefix}", _ROLE):
            found = self._client.list_blobs(
                bucket,
                prefix=prefix or None,
                start_offset=start or None,
                page_token=page_token,
                max_results=size,
                page_size=size,
                timeout=seconds,
                retry=self._retry.with_timeout(seconds),
            )
            objects = tuple(_stored(blob) for blob in next(found.pages, ()))
        return Page(objects, found.next_page_token)

    def read(self, source: StoredObject) -> Iterator[bytes]:
        """Yield this generation of an object, as it is stored, in pieces, and compare the checksum of the whole.

        Raises Changed when it is gone, PassingFailure when what came is not what is stored.
        """
        doing, checksum = f"reading {source.uri}", google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        blob = self._client.bucket(source.bucket).blob(source.name, generation=source.generation)
        # Each piece is a request of its own: whoever takes long over one keeps no connection waiting.
        with blob.open(
            "rb", chunk_size=PIECE, raw_download=True, timeout=self._call_seconds, retry=self._retry
        ) as stream:
            while True:
                with translated(doing, _ROLE), _preconditions(doing):
                    piece = stream.read(PIECE)
                if not piece:
                    break
                checksum.update(piece)  # type: ignore[no-untyped-call]
                yield piece
        found = base64.b64encode(checksum.digest()).decode()  # type: ignore[no-untyped-call]
        if source.crc32c and found != source.crc32c:
            raise PassingFailure(f"{doing}: what came has the crc32c {found}, and {source.crc32c} is stored")

    def write(
        self, path: Path, bucket: str, name: str, content_type: str, metadata: Mapping[str, str], replaces: int
    ) -> StoredObject:
        """Write a file of this machine; `replaces` is the generation that the destination has now, 0 for none.

        Raises Changed when the destination is not of that one, PermanentFailure when there is no such bucket. After an
        answer that was lost it is Changed, too: the object that is there then has this metadata.
        """
        doing = f"writing gs://{bucket}/{name}"
        blob = self._client.bucket(bucket).blob(name)
        blob.metadata = dict(metadata)
        with translated(doing, _ROLE), _preconditions(doing), self._existing(bucket):
            try:
                blob.upload_from_filename(
                    str(path),
                    content_type=content_type,
                    if_generation_match=replaces,
                    checksum="crc32c",
                    timeout=self._call_seconds,
                    retry=self._retry,
                )
            except DataCorruption as error:
                raise PassingFailure(f"{doing}: what arrived is not what was sent ({error})") from error
        return _stored(blob)

    def copy(
        self, source: StoredObject, bucket: str, name: str, metadata: Mapping[str, str], replaces: int
    ) -> StoredObject:
        """Copy exactly this generation of `source`; `metadata` is added to the source's own.

        `replaces` is the generation that the destination has now, 0 for none. Raises Changed when the source is no
        longer of its generation or the destination is not of that one, PermanentFailure when there is no such bucket.
        """
        doing = f"copying {source.uri} to gs://{bucket}/{name}"
        with translated(doing, _ROLE), _preconditions(doing):
            original = self._client.bucket(source.bucket).get_blob(
                source.name, generation=source.generation, timeout=self._call_seconds, retry=self._retry
            )
            if original is None:
                raise Changed(f"{doing}: generation {source.generation} of the source is gone")
            target = _like(original, self._client.bucket(bucket).blob(name), metadata)
            token: str | None = None
            while True:
                with self._existing(bucket):
                    token, _, _ = target.rewrite(
                        original,
                        token=token,
                        if_generation_match=replaces,
                        if_source_generation_match=source.generation,
                        timeout=self._call_seconds,
                        retry=self._retry,
                    )
                if token is None:
                    return _stored(target)

    def delete(self, bucket: str, name: str, generation: int) -> bool:
        """Delete the object if it is still of this generation; False when it is gone or another one lives."""
        doing = f"deleting gs://{bucket}/{name}"
        try:
            with translated(doing, _ROLE), _preconditions(doing):
                self._client.bucket(bucket).delete_blob(
                    name, if_generation_match=generation, timeout=self._call_seconds, retry=self._retry
                )
        except Changed:
            return False
        return True

    @contextmanager
    def _existing(self, bucket: str) -> Iterator[None]:
        # 404 is said of a missing bucket as of a missing object. The role lets us list objects, not look at buckets.
        try:
            yield
        except api.NotFound as missing:
            try:
                next(
                    self._client.list_blobs(bucket, max_results=1, timeout=self._call_seconds, retry=self._retry), None
                )
            except api.NotFound:
                raise PermanentFailure(f"there is no bucket gs://{bucket}; make it, or name another") from missing
            raise


@contextmanager
def _preconditions(doing: str) -> Iterator[None]:
    try:
        yield
    except (api.PreconditionFailed, api.NotFound) as error:
        raise Changed(f"{doing}: {error.message}") from error


def _like(original: Blob, target: Blob, metadata: Mapping[str, str]) -> Blob:
    # A rewrite with a body takes nothing over from the source, so what matters to readers is repeated here.
    for name in ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control"):
        if getattr(original, name):
            setattr(target, name, getattr(original, name))
    target.metadata = {**(original.metadata or {}), **metadata}
    return target


def _stored(blob: Blob) -> StoredObject:
    return StoredObject(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        size=int(blob.size or 0),
        crc32c=blob.crc32c,
        metadata=dict(blob.metadata or {}),
        created=blob.time_created,
    )
