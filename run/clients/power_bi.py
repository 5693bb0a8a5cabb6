"""Power BI's REST API, as far as a refresh needs it: https://learn.microsoft.com/rest/api/power-bi/datasets"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import requests

from run.clients.microsoft_login import MicrosoftLogin
from run.clients.rest import Answer, Rest
from run.errors import PassingFailure, PermanentFailure, Unavailable

SCOPE = "https://analysis.windows.net/powerbi/api/.default"
#: As many as Power BI keeps of a dataset at most:
#: https://learn.microsoft.com/rest/api/power-bi/datasets/get-refresh-history-in-group
MOST_KEPT = 60
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 24 * 3600.0
_RUNNING = frozenset({"Unknown", "InProgress", "NotStarted"})
_MUST_HAVE = (
    "the app needs the tenant setting that lets service principals use Power BI's APIs, and must be a member, "
    "contributor or admin of the workspace"
)
_ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: f"; {_MUST_HAVE}",
    HTTPStatus.FORBIDDEN: f"; {_MUST_HAVE}",
    HTTPStatus.NOT_FOUND: f"; it is not there, or the app does not see it: {_MUST_HAVE}",
}


class Throttled(Exception):
    """Power BI wants to be asked again after so many seconds; nothing has happened."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Power BI wants to be asked again in {seconds:g} s")
        self.seconds = seconds


class AlreadyRefreshing(Exception):
    """Power BI refuses a refresh because another one of the same dataset is running; nothing has happened."""


#: The words in which Power BI refuses; a code that tells them from other bad requests does not exist.
_BUSY = "already executing"
#: https://github.com/MicrosoftDocs/BusinessApplicationPlatform-Connectors-public/issues/450
_OVER_LIMIT = "in last 24 hours exceeded limit"


@dataclass(frozen=True)
class Dataset:
    """A dataset (Microsoft's newer word is semantic model) and the workspace where it lives, by their ids."""

    workspace: str
    id: str

    @property
    def refreshes(self) -> str:
        return f"/v1.0/myorg/groups/{self.workspace}/datasets/{self.id}/refreshes"

    def __str__(self) -> str:
        return f"dataset {self.id} of workspace {self.workspace}"


@dataclass(frozen=True)
class Refresh:
    """One refresh of a dataset, as Power BI tells it."""

    id: str
    #: Scheduled, OnDemand, ViaApi (standard), ViaEnhancedApi, ViaXmlaEndpoint, ...
    kind: str
    status: str
    began: datetime | None
    ended: datetime | None
    #: What went wrong, in Power BI's words.
    error: str = ""
    #: Everything that was told.
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Power BI says Unknown of what is in progress: then it has no end."""
        return self.status in _RUNNING and self.ended is None


@dataclass(frozen=True)
class History:
    """The last refreshes of a dataset, newest first, and when that was told, by Power BI's own clock."""

    refreshes: tuple[Refresh, ...]
    told_at: datetime

    def find(self, refresh_id: str) -> Refresh | None:
        """The refresh with this id, if it is still kept, and shown already."""
        return next((one for one in self.refreshes if one.id == refresh_id), None)


class PowerBi:
    """Power BI as one app sees it. Threads may share it.

    Every call raises Throttled, Unavailable (no answer: what was asked for may have happened), or PermanentFailure
    when Power BI refuses.
    """

    def __init__(self, url: str, login: MicrosoftLogin) -> None:
        session = requests.Session()
        session.auth = login
        self._rest = Rest(url, session)

    def dataset_of_report(self, workspace: str, report: str) -> str:
        """The id of the dataset that the report shows."""
        what = f"report {report} of workspace {workspace}"
        answer = self._good(f"finding the {what}", "GET", f"/v1.0/myorg/groups/{workspace}/reports/{report}")
        dataset = answer.body.get("datasetId") if isinstance(answer.body, dict) else None
        if not dataset:
            raise PermanentFailure(f"the {what} has no dataset that could be refreshed")
        return str(dataset)

    def history(self, dataset: Dataset) -> History:
        """The last refreshes of the dataset, whoever began them."""
        doing = f"reading the refreshes of {dataset}"
        answer = self._good(doing, "GET", dataset.refreshes, params={"$top": MOST_KEPT})
        try:
            told_at = parsedate_to_datetime(answer.headers["Date"]).replace(tzinfo=UTC)
            return History(tuple(_refresh(one) for one in answer.body["value"]), told_at)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(f"{doing}: the answer is no history ({type(error).__name__}: {error})") from error

    def refresh(self, dataset: Dataset, request: Mapping[str, Any]) -> str | None:
        """Begin a refresh; its id, None when Power BI has not told it. Raises AlreadyRefreshing."""
        answer = self._good(f"refreshing {dataset}", "POST", dataset.refreshes, json=dict(request))
        place = answer.headers.get("Location", "").split("?")[0]
        return (
            place.rpartition("/refreshes/")[2].strip("/")
            or answer.headers.get("x-ms-request-id")
            or answer.headers.get("RequestId")
        )

    def details(self, dataset: Dataset, refresh_id: str) -> Refresh | None:
        """An enhanced refresh; None when Power BI does not know it, or not yet."""
        doing = f"asking for refresh {refresh_id} of {dataset}"
        answer = self._rest.call("GET", f"{dataset.refreshes}/{refresh_id}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.is_good:
            raise _problem(doing, answer)
        if not isinstance(answer.body, dict):
            raise Unavailable(f"{doing}: the answer is none")
        return _refresh({"requestId": refresh_id, **answer.body})

    def cancel(self, dataset: Dataset, refresh_id: str) -> None:
        """Ask for the end of an enhanced refresh; one that is over already stays as it is."""
        answer = self._rest.call("DELETE", f"{dataset.refreshes}/{refresh_id}")
        if not answer.is_good and answer.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            raise _problem(f"cancelling refresh {refresh_id} of {dataset}", answer)

    def _good(self, doing: str, method: str, path: str, **more: Any) -> Answer:
        answer = self._rest.call(method, path, **more)
        if not answer.is_good:
            raise _problem(doing, answer)
        return answer


def _problem(doing: str, answer: Answer) -> Exception:
    said = _said(answer)
    text = f"{doing}: Power BI answered {answer.status}" + (f" ({said})" if said else "")
    if _OVER_LIMIT in said:
        return PassingFailure(text)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(_seconds(answer.headers.get("Retry-After", "")))
    if answer.status == HTTPStatus.BAD_REQUEST and _BUSY in said:
        return AlreadyRefreshing(text)
    if answer.status == HTTPStatus.REQUEST_TIMEOUT or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(text)
    return PermanentFailure(text + _ADVICE.get(answer.status, ""))


def _said(answer: Answer) -> str:
    """The code and the sentences of an error of Power BI's."""
    error = answer.body.get("error", answer.body) if isinstance(answer.body, dict) else answer.body
    if not isinstance(error, dict):
        return str(error or "")[:500]
    inner = error.get("pbi.error")
    details = inner.get("details") if isinstance(inner, dict) else None
    more = [one.get("detail", {}).get("value") for one in details or () if isinstance(one, dict)]
    return ": ".join(str(part) for part in (error.get("code"), error.get("message"), *more) if part)


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_PAUSE_SECONDS) if retry_after.isdecimal() else _PAUSE_SECONDS


def _refresh(told: Mapping[str, Any]) -> Refresh:
    return Refresh(
        id=str(told["requestId"]),
        kind=str(told.get("refreshType") or ""),
        status=_status(told),
        began=_moment(told.get("startTime")),
        ended=_moment(told.get("endTime")),
        error="; ".join(dict.fromkeys(_errors(told))),
        raw=told,
    )


def _status(told: Mapping[str, Any]) -> str:
    """The extended status says more than the status, unless it is unknown."""
    said = [str(told[key]) for key in ("extendedStatus", "status") if told.get(key)]
    return next((one for one in said if one != "Unknown"), "Unknown")


def _moment(text: str | None) -> datetime | None:
    """A time of Power BI's, which is UTC whether it says so or not."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _errors(told: Mapping[str, Any]) -> Iterator[str]:
    for one in (told, *(told.get("refreshAttempts") or ())):
        yield from _service_exception(one.get("serviceExceptionJson"))
    for message in told.get("messages") or ():
        parts = (message.get("code"), message.get("message"))
        yield ": ".join(str(part) for part in parts if part)


def _service_exception(text: str | None) -> Iterator[str]:
    """A text that usually is JSON: {"errorCode": ..., "errorDescription": ...}."""
    if not text:
        return
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        yield text
        return
    parts = [told.pop("errorCode", None), told.pop("errorDescription", None), *told.values()]
    yield ": ".join(str(part) for part in parts if part)
