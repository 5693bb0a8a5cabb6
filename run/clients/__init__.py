"""The only importers of Google's and Microsoft's APIs, and the one object that hands them out."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from run.redaction import hide

if TYPE_CHECKING:
    from run.clients.bigquery import BigQuery
    from run.clients.cloud_run import CloudRun
    from run.clients.dataform import Dataform
    from run.clients.http import Http
    from run.clients.identity import OwnIdentity
    from run.clients.power_bi import PowerBi
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
        self._cloud_run: CloudRun | None = None
        self._http: Http | None = None
        self._identity: OwnIdentity | None = None
        self._power_bi: dict[tuple[str, str, str], PowerBi] = {}
        # At once: another process may use a secret that this one meets first in what comes back.
        for value in settings.secrets.values():
            hide(value.get_secret_value())

    @property
    def function_modules(self) -> tuple[str, ...]:
        """The modules whose functions may be called here."""
        return self._settings.function_modules

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

    @property
    def cloud_run(self) -> CloudRun:
        """Raises PermanentFailure when there are no credentials."""
        from run.clients.cloud_run import CloudRun  # noqa: PLC0415  # See the class.
        from run.clients.rest import google_rest  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._cloud_run is None:
                self._cloud_run = CloudRun(self._settings.project, google_rest(self._settings.cloud_run_url))
            return self._cloud_run

    @property
    def http(self) -> Http:
        """For addresses that a workflow names."""
        from run.clients.http import Http  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._http is None:
                self._http = Http(may_reach_itself=self._settings.cloud_run_service is None)
            return self._http

    @property
    def identity(self) -> OwnIdentity:
        """For services that want to know who asks."""
        from run.clients.identity import OwnIdentity  # noqa: PLC0415  # See the class.

        with self._lock:
            if self._identity is None:
                self._identity = OwnIdentity()
            return self._identity

    def power_bi(self, tenant: str, client_id: str, secret: str) -> PowerBi:
        """Power BI as this app of the tenant sees it."""
        from run.clients.microsoft_login import MicrosoftLogin  # noqa: PLC0415  # See the class.
        from run.clients.power_bi import SCOPE, PowerBi  # noqa: PLC0415

        app = (tenant, client_id, secret)
        with self._lock:
            if app not in self._power_bi:
                login = MicrosoftLogin(self._settings.microsoft_login_url, *app, SCOPE)
                self._power_bi[app] = PowerBi(self._settings.power_bi_url, login)
            return self._power_bi[app]
