"""Webhooks of somebody's, Slack's among them, which keep what is posted."""

from __future__ import annotations

from tests.servers.wire import Answered, Asked, WireServer


class HookServer(WireServer):
    """Takes JSON at every path; at `/slack` it answers as Slack does."""

    def answer(self, asked: Asked) -> Answered:
        if asked.method != "POST" or asked.headers.get("content-type") != "application/json":
            return Answered(400, "invalid_payload")
        return Answered(200, "ok") if asked.path == "/slack" else Answered(204)
