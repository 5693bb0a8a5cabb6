"""The only importers of Google's and Microsoft's APIs, and the one object that hands them out."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from run.clients.bigquery import BigQuery
    from run.clients.dataform import Dataform
    from run.clients.secrets import Secrets
    from run.clients.storage import Storage
    from run.settings import Settings


class Clients:
    """Makes each client when it is first asked for, once, from any thread.

    A client's modules are imported then too, because a command that needs none of them should not wait for them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._bigquery: BigQuery | None = None
        self._dataform: Dataform | None = None
        self._storage: Storage | None = None
        self._secrets: Secrets | None = None

    @property
    def bigquery(self) -> BigQuery:
        """Raises PermanentFailure when there are no credentials."""
        from run.clients.bigquery import BigQuery  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._bigquery is None:
                settings = self._settings
                self._bigquery = BigQuery(settings.project, settings.bigquery_location, settings.bigquery_emulator_host)
            return self._bigquery

    @property
    def dataform(self) -> Dataform:
        """Raises PermanentFailure when there are no credentials."""
        from run.clients.dataform import Dataform  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._dataform is None:
                self._dataform = Dataform(self._settings.dataform_url)
            return self._dataform

    @property
    def storage(self) -> Storage:
        """Raises PermanentFailure when there are no credentials."""
        from run.clients.storage import Storage  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._storage is None:
                self._storage = Storage(self._settings.project, self._settings.storage_emulator_host)
            return self._storage

    @property
    def secrets(self) -> Secrets:
        """Raises PermanentFailure when there are no credentials."""
        from run.clients.secrets import Secrets  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._secrets is None:
                settings = self._settings
                self._secrets = Secrets(settings.project, settings.secrets, settings.secret_manager_url)
            return self._secrets
