"""A small server of BigQuery's REST protocol for what the local BigQuery server does differently.

It knows jobs.insert (a second insert of an id is 409 `duplicate`), jobs.get (PENDING, RUNNING, then the end that the
test chose; 404 for the first `hidden_gets`, as for a job of a moment ago), jobs.cancel, jobs.getQueryResults, and the
tables that load jobs and our SQL make and fill when they are done. It remembers every insert, and can be told to hold
jobs (`held`), to lose the answer to a call that it has carried out (`loses`), or not to answer (`silent`), once it has
taken an insert or altogether: https://docs.cloud.google.com/bigquery/docs/reference/rest
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

STOPPED = {"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"}
#: How many rows every load job brings.
LOADED = 3


class BigQueryWire:
    """A running server; for `with`."""

    def __init__(self) -> None:
        self.inserts: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.error_results: list[dict[str, str] | None] = []
        self.tables: dict[str, list[str]] = {}
        self.rows: dict[str, int] = {}
        self.expiries: list[str] = []
        self.on_insert: Callable[[], object] = bool
        self.hidden_gets = 0
        self.refusal: tuple[int, str] | None = None
        self.held = False
        #: How long ago jobs seem to have been submitted, in seconds.
        self.age = 0.0
        #: By method, what the caller sees instead of the next answer.
        self.loses: dict[str, Literal["503", "broken connection"]] = {}
        self.silent = False
        self.silent_from_insert = False
        self.unreadable_results = False
        self.silent_results = False
        #: How many rows were asked for, each number once.
        self.asked_rows: set[str] = set()
        self.statement_type = "SELECT"
        #: What every query selects: its columns, each with a type, its first rows, and how many rows it has in all.
        self.columns: dict[str, str] = {}
        self.first_rows: list[list[str | None]] = []
        self.total_rows = 0
        self.patch_refusal: tuple[int, str] | None = None
        self._states: dict[str, list[str]] = {}
        self._ended: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"wire": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def steps(self) -> list[str]:
        """The step and number of each insert so far, as our job ids have them."""
        ids = [one["jobReference"]["jobId"] for one in self.inserts]
        return [re.sub(r".*-1-([a-z]+(-\d+)?)-[0-9a-f]{32}$", r"\1", one) for one in ids]

    def insert(self, body: dict[str, Any]) -> tuple[int, Mapping[str, Any]]:
        if self.refusal:
            return self.refusal[0], _error(*self.refusal)
        self.inserts.append(body)
        self.on_insert()
        self.silent = self.silent or self.silent_from_insert
        job_id = body["jobReference"]["jobId"]
        if job_id in self.jobs:
            return 409, _error(409, "duplicate")
        error = self.error_results.pop(0) if self.error_results else None
        self._states[job_id] = ["PENDING", "RUNNING", "DONE"]
        self.jobs[job_id] = {
            "kind": "bigquery#job",
            "jobReference": {**body["jobReference"], "location": "EU"},
            "configuration": body["configuration"],
            "statistics": {
                "creationTime": str(int((time.time() - self.age) * 1000)),
                "load": {"outputRows": str(LOADED), "outputBytes": "12", "badRecords": "0"},
                "query": {"statementType": self.statement_type, "totalBytesProcessed": "7"},
            },
            "status": {"errorResult": error, "errors": [error]} if error else {},
        }
        return 200, self.job(job_id)

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now; every look takes it a state further, and what it does happens when it is done."""
        states, job = self._states[job_id], self.jobs[job_id]
        stopped = job["status"].get("errorResult") == STOPPED
        state = states[0]
        if len(states) > 1 and (state == "PENDING" or stopped or not self.held):
            self._states[job_id] = states[1:]
        if state == "DONE" and job_id not in self._ended:
            self._ended.add(job_id)
            job["status"] = job["status"] or self._done(job["configuration"])
        return {**job, "status": {**(job["status"] if state == "DONE" else {}), "state": state}}

    def cancel(self, job_id: str) -> tuple[int, Mapping[str, Any]]:
        """It stops, though not at once; what it has not done is not done."""
        if job_id not in self.jobs:
            return 404, _error(404, "notFound")
        if job_id not in self._ended:
            self._states[job_id] = ["RUNNING", "RUNNING", "DONE"]
            self.jobs[job_id]["status"] = {"errorResult": STOPPED, "errors": [STOPPED]}
        return 200, {"kind": "bigquery#jobCancelResponse", "job": self.job(job_id)}

    def _done(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        if "load" in configuration:
            name = configuration["load"]["destinationTable"]["tableId"]
            self.tables[name], self.rows[name] = ["id"], LOADED
            return {}
        sql = configuration["query"]["query"]
        missing = [name for name in re.findall(r"FROM `[^`]+\.([^.`]+)`", sql) if name not in self.tables]
        if missing:
            error = {"reason": "notFound", "message": f"Not found: Table {missing[0]}"}
            return {"errorResult": error, "errors": [error]}
        if made := re.match(r"CREATE TABLE IF NOT EXISTS `[^`]+\.([^.`]+)`", sql):
            self.tables.setdefault(made[1], ["id", *re.findall(r"AS `(\w+)`", sql)])
        if written := re.search(r"INSERT INTO `[^`]+\.([^.`]+)` .* FROM `[^`]+\.([^.`]+)`", sql):
            kept = 0 if "DELETE FROM" in sql else self.rows.get(written[1], 0)
            self.rows[written[1]] = kept + self.rows[written[2]]
        return {}

    def get(self, path: str) -> tuple[int, Mapping[str, Any]]:
        job_id = path.rsplit("/", 1)[-1]
        if self.hidden_gets and "/jobs/" in path:
            self.hidden_gets -= 1
            return 404, _error(404, "notFound")
        if "/jobs/" in path and job_id in self.jobs:
            return 200, self.job(job_id)
        if "/queries/" in path and self.unreadable_results:
            return 403, _error(403, "accessDenied")
        if "/queries/" in path and self.silent_results:
            return 503, _error(503, "backendError")
        if "/queries/" in path and job_id in self.jobs:
            return 200, self.result()
        return self.table(job_id) if "/tables/" in path else (404, _error(404, "notFound"))

    def result(self) -> dict[str, Any]:
        """A response of jobs.getQueryResults, with the first page of rows."""
        fields = [{"name": name, "type": type_, "mode": "NULLABLE"} for name, type_ in self.columns.items()]
        rows = [{"f": [{"v": value} for value in row]} for row in self.first_rows]
        return {"jobComplete": True, "totalRows": str(self.total_rows), "schema": {"fields": fields}, "rows": rows}

    def table(self, name: str) -> tuple[int, Mapping[str, Any]]:
        if name not in self.tables:
            return 404, _error(404, "notFound")
        reference = {"projectId": "local", "datasetId": "sales", "tableId": name}
        types = {"id": "INTEGER"}
        columns = [{"name": one, "type": types.get(one, "STRING"), "mode": "NULLABLE"} for one in self.tables[name]]
        return 200, {"tableReference": reference, "schema": {"fields": columns}, "etag": "1"}

    def drop(self, name: str) -> tuple[int, Mapping[str, Any]]:
        if self.tables.pop(name, None) is None:
            return 404, _error(404, "notFound")
        return 204, {}

    def patch(self, name: str) -> tuple[int, Mapping[str, Any]]:
        self.expiries.append(name)
        return (self.patch_refusal[0], _error(*self.patch_refusal)) if self.patch_refusal else self.table(name)


def _error(code: int, reason: str) -> dict[str, Any]:
    message = f"the wire says {reason}"
    return {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


class _Handler(BaseHTTPRequestHandler):
    wire: BigQueryWire

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = urlsplit(self.path).path
        if path.endswith("/cancel"):
            self._answer(*self.wire.cancel(path.split("/")[-2]))
        else:
            self._answer(*self.wire.insert(json.loads(body)))

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if "/queries/" in address.path:
            self.wire.asked_rows.update(parse_qs(address.query)["maxResults"])
        self._answer(*self.wire.get(address.path))

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.wire.patch(self.path.partition("?")[0].rsplit("/", 1)[-1]))

    def do_DELETE(self) -> None:
        self._answer(*self.wire.drop(self.path.partition("?")[0].rsplit("/", 1)[-1]))

    def _answer(self, status: int, resource: Mapping[str, Any]) -> None:
        lost = self.wire.loses.pop(self.command, None)
        if lost == "broken connection":
            self.close_connection = True
            return
        if self.wire.silent or lost:
            status, resource = 503, _error(503, "backendError")
        content = json.dumps(resource).encode() if resource else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests want no log."""
