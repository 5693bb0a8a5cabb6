"""Serves Cloud Storage from a folder: `python -m run.local.storage_process FOLDER HOST PORT BUCKET...`.

The server's own command would create one bucket only, log every request, and could be cut off by SIGTERM while it
writes its index; what it leaves out of the protocol, `run.local.storage_preconditions` and `storage_listing` add.
"""

from __future__ import annotations

import logging
import signal
import sys

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import create_server
from gcp_storage_emulator.storage import Storage

from run.local import storage_listing, storage_preconditions


def main(folder: str, host: str, port: int, buckets: list[str]) -> None:
    """Create the buckets that are missing, and serve until SIGTERM."""
    logging.basicConfig(level=logging.WARNING)
    storage_preconditions.install()
    storage_listing.install()
    storage = Storage(data_dir=folder)
    for bucket in buckets:
        if storage.get_bucket(bucket) is None:
            create_bucket(bucket, storage)
    _move_links(storage, f"http://{host}:{port}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    create_server(host, port, data_dir=folder).run()


def _move_links(storage: Storage, url: str) -> None:
    # Objects keep the download link of the port they were uploaded to, and Google's client follows that link.
    for objects in storage.objects.values():
        for resource in objects.values():
            resource["mediaLink"] = url + resource["mediaLink"][resource["mediaLink"].index("/download/") :]
    storage._write_config_to_file()  # noqa: SLF001  The public ways to write the index write it once per object.


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
