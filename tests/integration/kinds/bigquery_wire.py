"""A small server of BigQuery's REST protocol for what the local BigQuery server does differently.

It knows jobs.insert (a second insert of an id is 409 `duplicate`), jobs.get (PENDING, RUNNING, then the end that the
test chose; 404 for the first `hidden_gets`, as for a job of a moment ago), jobs.getQueryResults, and the tables that
load jobs and CREATE TABLE have made. It remembers every insert, and can be told not to answer (`silent`), once it has
taken an insert or altogether: https://docs.cloud.google.com/bigquery/docs/reference/rest
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


class BigQueryWire:
    """A running server; for `with`."""

    def __init__(self) -> None:
        self.inserts: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.error_results: list[dict[str, str] | None] = []
        self.tables: dict[str, list[str]] = {}
        self.expiries: list[str] = []
        self.on_insert: Callable[[], object] = bool
        self.hidden_gets = 0
        self.refusal: tuple[int, str] | None = None
        self.silent = False
        self.silent_from_insert = False
        self.unreadable_results = False
        self.patch_refusal: tuple[int, str] | None = None
        self._states: dict[str, list[str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

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
        if not error:
            self._make_tables(body["configuration"])
        self._states[job_id] = ["PENDING", "RUNNING", "DONE"]
        self.jobs[job_id] = {
            "kind": "bigquery#job",
            "jobReference": {**body["jobReference"], "location": "EU"},
            "configuration": body["configuration"],
            "statistics": {
                "load": {"outputRows": "3", "outputBytes": "12", "badRecords": "0"},
                "query": {"statementType": "SELECT"},
            },
            "status": {"errorResult": error, "errors": [error]} if error else {},
        }
        return 200, self.job(job_id)

    def _make_tables(self, configuration: dict[str, Any]) -> None:
        if "load" in configuration:
            self.tables[configuration["load"]["destinationTable"]["tableId"]] = ["id"]
        made = re.match(
            r"CREATE TABLE IF NOT EXISTS `[^`]+\.([^.`]+)`", configuration.get("query", {}).get("query", "")
        )
        if made:
            marks = re.findall(r"AS `(\w+)`", configuration["query"]["query"])
            self.tables[made[1]] = ["id", *marks]

    def job(self, job_id: str) -> dict[str, Any]:
        states = self._states[job_id]
        state = states.pop(0) if len(states) > 1 else states[0]
        job = self.jobs[job_id]
        status = job["status"] if state == "DONE" else {}
        return {**job, "status": {**status, "state": state}}

    def get(self, path: str) -> tuple[int, Mapping[str, Any]]:
        job_id = path.rsplit("/", 1)[-1]
        if self.hidden_gets and "/jobs/" in path:
            self.hidden_gets -= 1
            return 404, _error(404, "notFound")
        if "/jobs/" in path and job_id in self.jobs:
            return 200, self.job(job_id)
        if "/queries/" in path and self.unreadable_results:
            return 403, _error(403, "accessDenied")
        if "/queries/" in path and job_id in self.jobs:
            return 200, {"jobComplete": True, "totalRows": "0", "schema": {"fields": []}, "rows": []}
        return self.table(job_id) if "/tables/" in path else (404, _error(404, "notFound"))

    def table(self, name: str) -> tuple[int, Mapping[str, Any]]:
        if name not in self.tables:
            return 404, _error(404, "notFound")
        reference = {"projectId": "local", "datasetId": "sales", "tableId": name}
        types = {"id": "INTEGER"}
        columns = [{"name": one, "type": types.get(one, "STRING"), "mode": "NULLABLE"} for one in self.tables[name]]
        return 200, {"tableReference": reference, "schema": {"fields": columns}, "etag": "1"}

    def drop(self, name: str) -> tuple[int, Mapping[str, Any]]:
        self.tables.pop(name, None)
        return 204, {}

    def patch(self, name: str) -> tuple[int, Mapping[str, Any]]:
        self.expiries.append(name)
        return (self.patch_refusal[0], _error(*self.patch_refusal)) if self.patch_refusal else self.table(name)


def _error(code: int, reason: str) -> dict[str, Any]:
    message = f"the wire says {reason}"
    return {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


def _handler(wire: BigQueryWire) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*wire.insert(body))

        def do_GET(self) -> None:
            self._answer(*wire.get(urlsplit(self.path).path))

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(*wire.patch(self.path.partition("?")[0].rsplit("/", 1)[-1]))

        def do_DELETE(self) -> None:
            self._answer(*wire.drop(self.path.partition("?")[0].rsplit("/", 1)[-1]))

        def _answer(self, status: int, resource: Mapping[str, Any]) -> None:
            if wire.silent:
                status, resource = 503, _error(503, "backendError")
            content = json.dumps(resource).encode() if resource else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Tests want no log."""

    return Handler
