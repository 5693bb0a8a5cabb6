"""Power BI's reports and refreshes, over its REST protocol: https://learn.microsoft.com/rest/api/power-bi/datasets

It lives in March 2024, so that nobody who compares its times with a clock of ours gets away with it.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.servers.microsoft_login import MicrosoftLogin
from tests.servers.wire import Answered, Asked, WireServer

AUDIENCE = "https://analysis.windows.net/powerbi/api"
WORKSPACE = "f089354e-8366-4e18-aea3-4cb4a3a50b48"
DATASET = "cfafbeb1-8037-4d0c-896e-a46fb27ff229"
REPORT = "5b218778-e7a5-4d73-8187-f10824047715"
OTHER_WORKSPACE = "3d9b93c6-7b6d-4801-a491-1738910904fd"
OTHER_DATASET = "0e074d27-adcd-4290-a08e-4aa375e51801"
OTHER_REPORT = "e2d0a9ac-4f6f-4b0c-8b93-8e2f0f1c9d10"
NOON = datetime(2024, 3, 16, 12, tzinfo=UTC)
#: A day of shared capacity.
MOST_A_DAY = 8
NOT_AUTHORIZED = {"error": {"code": "PowerBINotAuthorizedException", "pbi.error": {"details": []}}}
CREDENTIALS = {"errorCode": "ModelRefreshFailed_CredentialsNotSpecified"}
GATEWAY = {"errorCode": "DM_GWPipeline_Gateway_TimeoutError", "errorDescription": "The gateway took too long."}

Refresh = dict[str, Any]


class PowerBiServer(WireServer):
    """Two workspaces, each with a dataset; a report of either shows the dataset of `datasets_of_reports`.

    A refresh is done when it is asked for the next time, unless `held`; `ends` says how the next ones end instead.
    """

    def __init__(self, login: MicrosoftLogin) -> None:
        super().__init__()
        self.login = login
        self._began = time.monotonic()
        self.passed = timedelta()
        self.is_shared = False
        self.forbidden: set[str] = set()
        self.held = False
        self.ends: list[Refresh] = []
        #: Called right before a refresh is accepted or refused.
        self.on_refresh: Callable[[], object] = lambda: None
        #: How often the history still leaves out refreshes that were just accepted.
        self.hidden_looks = 0
        #: Whether an accepted refresh is dropped, as it may happen under a flood.
        self.drops = False
        self.places = {WORKSPACE: DATASET, OTHER_WORKSPACE: OTHER_DATASET}
        self.datasets_of_reports: dict[str, str | None] = {REPORT: DATASET}
        #: The refreshes of each dataset, newest first; `request` is what was asked for.
        self.refreshes: dict[str, list[Refresh]] = {DATASET: [], OTHER_DATASET: []}

    def now(self) -> float:
        return self.time().timestamp()

    def time(self) -> datetime:
        """The server's own clock."""
        return NOON + self.passed + timedelta(seconds=time.monotonic() - self._began)

    def has(self, kind: str, ago: timedelta, *, dataset: str = DATASET, lasted: timedelta | None = None) -> Refresh:
        """Let the history have a refresh by somebody else, which still runs unless it says how long it lasted."""
        began = self.time() - ago
        refresh = {"requestId": str(uuid.uuid4()), "refreshType": kind, "startTime": _text(began), "status": "Unknown"}
        if lasted is not None:
            refresh |= {"status": "Completed", "endTime": _text(began + lasted)}
        self.refreshes[dataset].insert(0, refresh)
        self.refreshes[dataset].sort(key=lambda one: str(one["startTime"]), reverse=True)
        return refresh

    def end(self, refresh: Refresh, **how: Any) -> None:
        """Let a refresh be over, well unless `how` says otherwise."""
        refresh.update({"status": "Completed", "endTime": _text(self.time()), **how})

    def end_all(self, **how: Any) -> None:
        for refreshes in self.refreshes.values():
            for one in refreshes:
                if "endTime" not in one:
                    self.end(one, **how)

    def ours(self, dataset: str = DATASET) -> list[Refresh]:
        """What was asked for over this protocol, newest first."""
        return [one for one in self.refreshes[dataset] if "request" in one]

    def answer(self, asked: Asked) -> Answered:
        refused = self._without_good_token(asked)
        if refused is not None:
            return refused
        path = r"/v1\.0/myorg/groups/([^/]+)/(reports|datasets)/([^/]+)(/refreshes(?:/([^/]+))?)?"
        found = re.fullmatch(path, asked.path)
        if found is None:
            return Answered(404, "not a path of this service")
        workspace, what, one, refreshes, refresh_id = found.groups()
        if workspace in self.forbidden:
            return Answered(403, {"error": {"code": "Forbidden", "message": "no access to this workspace"}})
        if what == "reports":
            return self._report(workspace, one)
        if self.places.get(workspace) != one or not refreshes:
            return _not_found("PowerBIEntityNotFound")
        return self._refreshes(asked, one, refresh_id)

    def _without_good_token(self, asked: Asked) -> Answered | None:
        claims = self.login.tokens.get(asked.headers.get("authorization", "").removeprefix("Bearer "))
        if claims is None or claims["aud"] != AUDIENCE:
            return Answered(401, NOT_AUTHORIZED)
        if claims["exp"] < self.login.now():
            return Answered(403, {"error": {"code": "TokenExpired", "message": "Access token has expired"}})
        return None

    def _report(self, workspace: str, report: str) -> Answered:
        if workspace not in self.places or report not in self.datasets_of_reports:
            return _not_found("PowerBIEntityNotFound")
        told = {"id": report, "name": "Finance", "reportType": "PowerBIReport"}
        dataset = self.datasets_of_reports[report]
        return Answered(200, {**told, "datasetId": dataset} if dataset else told)

    def _refreshes(self, asked: Asked, dataset: str, refresh_id: str | None) -> Answered:
        match asked.method, refresh_id:
            case "POST", None:
                return self._begin(dataset, asked.json or {})
            case "GET", None:
                return self._history(dataset, int(asked.query.get("$top", 60)))
            case (("GET" | "DELETE"), str()):
                return self._one(asked.method, dataset, refresh_id)
        return Answered(405, "")

    def _begin(self, dataset: str, request: Refresh) -> Answered:
        self.on_refresh()
        kind = "ViaApi" if set(request) <= {"notifyOption"} else "ViaEnhancedApi"
        why = self._wrong(request, is_enhanced=kind == "ViaEnhancedApi")
        if why:
            return _bad_request(why)
        if any("endTime" not in one for one in self.refreshes[dataset]):
            return _bad_request("Another refresh request is already executing")
        if self.is_shared and self._today(dataset) >= MOST_A_DAY:
            return _bad_request("Number of refresh requests in last 24 hours exceeded limit", "Request Throttled")
        return self._accepted(dataset, request, kind)

    def _wrong(self, request: Refresh, *, is_enhanced: bool) -> str | None:
        if is_enhanced and "notifyOption" in request:
            return "notifyOption is not applicable to enhanced refreshes"
        if request.get("notifyOption", "NoNotification") != "NoNotification":
            return "notifyOption is not applicable to service principals"
        if self.is_shared and is_enhanced:
            return "Enhanced refresh is not supported for shared capacity"
        if request.get("commitMode") == "PartialBatch" and request.get("applyRefreshPolicy", True):
            return "applyRefreshPolicy must be false with PartialBatch"
        return None

    def _accepted(self, dataset: str, request: Refresh, kind: str) -> Answered:
        refresh_id = str(uuid.uuid4())
        refresh: Refresh = {"requestId": refresh_id, "refreshType": kind, "status": "Unknown", "request": request}
        refresh |= {"startTime": _text(self.time()), "hidden": self.hidden_looks}
        if not self.drops:
            self.refreshes[dataset].insert(0, refresh)
        place = f"{self.url}/v1.0/myorg/groups/{WORKSPACE}/datasets/{dataset}/refreshes/{refresh_id}"
        return Answered(202, None, {"x-ms-request-id": refresh_id, "Location": place})

    def _today(self, dataset: str) -> int:
        since = _text(self.time() - timedelta(hours=24))
        counted = (one for one in self.refreshes[dataset] if one["refreshType"] in {"Scheduled", "ViaApi"})
        return sum(one["startTime"] >= since for one in counted)

    def _history(self, dataset: str, top: int) -> Answered:
        shown = []
        for one in self.refreshes[dataset][:top]:
            if one.get("hidden", 0) > 0:
                one["hidden"] -= 1
                continue
            self._may_end(one)
            keys = ("requestId", "refreshType", "startTime", "endTime", "status", "extendedStatus")
            shown.append({key: one[key] for key in (*keys, "serviceExceptionJson") if key in one})
        return Answered(200, {"value": shown})

    def _may_end(self, one: Refresh) -> None:
        if "endTime" not in one and "request" in one and not self.held:
            self.end(one, **(self.ends.pop(0) if self.ends else {}))

    def _one(self, method: str, dataset: str, refresh_id: str) -> Answered:
        found = [one for one in self.refreshes[dataset] if one["requestId"] == refresh_id]
        if not found or found[0]["refreshType"] != "ViaEnhancedApi":
            return _not_found("ItemNotFound")
        [one] = found
        if method == "DELETE":
            if "endTime" in one:
                return _bad_request("The refresh is not in progress")
            self.end(one, status="Cancelled")
            return Answered(200)
        self._may_end(one)
        request = one.get("request", {})
        told: Refresh = {
            key: one[key] for key in ("startTime", "endTime", "status", "extendedStatus", "messages") if key in one
        }
        told |= {"type": request.get("type", "Automatic"), "commitMode": request.get("commitMode", "Transactional")}
        told["objects"] = request.get("objects") or [{"table": "Sales", "partition": "Sales-2024"}]
        return Answered(200 if "endTime" in one else 202, told)


def failed(error: dict[str, str]) -> Refresh:
    """How a refresh ends that has failed with this error of the service."""
    return {"status": "Failed", "serviceExceptionJson": json.dumps(error)}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bad_request(why: str, code: str = "InvalidRequest") -> Answered:
    return Answered(400, {"error": {"code": code, "message": f"Invalid dataset refresh request. {why}"}})


def _not_found(code: str) -> Answered:
    return Answered(404, {"error": {"code": code, "pbi.error": {"code": code, "parameters": {}, "details": []}}})
