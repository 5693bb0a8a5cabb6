"""A service that wants to know who asks: tokens from a metadata server, checked by the other side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.metadata import ACCOUNT, Metadata
from tests.servers.rest_service import RestService

ROOT = Path(__file__).parents[3]


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        yield server


@pytest.fixture
def service(metadata: Metadata) -> Iterator[RestService]:
    with RestService() as server:
        server.certs_url = f"{metadata.url}/certs"
        yield server


def ask(url: str, environment: Mapping[str, str]) -> tuple[list[Any], str]:
    """What a process of the service has kept of two answers, and all that it has printed."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "GCE_"))}
    command = [sys.executable, "-m", "tests.integration.kinds.http_process", url]
    done = subprocess.run(
        command, cwd=ROOT, env={**given, **environment}, capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stdout + done.stderr


def test_a_token_for_the_service_s_own_address_is_got_once_sent_and_shown_nowhere(
    service: RestService, metadata: Metadata
) -> None:
    kept, printed = ask(f"{service.url}/echo", metadata.environment)
    assert [one["status"] for one in kept] == [200, 200]
    assert service.callers == [ACCOUNT] * 2
    assert [one.query["audience"] for one in metadata.requests("GET", "/identity")] == [service.url]
    assert kept[0]["response"]["headers"]["authorization"] == "Bearer [hidden]"
    assert service.asked[0].headers["authorization"].removeprefix("Bearer ") not in printed


def test_a_token_that_comes_back_in_a_redirect_is_shown_nowhere(service: RestService, metadata: Metadata) -> None:
    kept, printed = ask(f"{service.url}/onward", metadata.environment)
    assert kept[0]["error"].endswith("/login?token=[hidden], which must be the url, as it is not followed")
    assert service.asked[0].headers["authorization"].removeprefix("Bearer ") not in printed


def test_a_token_for_somebody_else_is_not_accepted(service: RestService, metadata: Metadata) -> None:
    kept, _ = ask(f"{service.url.replace('127.0.0.1', 'localhost')}/echo", metadata.environment)
    assert [one["details"]["status"] for one in kept] == [401, 401]
    assert service.callers == []


def test_where_nobody_gives_tokens_nothing_is_sent(service: RestService) -> None:
    nobody = {"GCE_METADATA_IP": "127.0.0.1:9", "GCE_METADATA_HOST": "127.0.0.1:9", "GCE_METADATA_DETECT_RETRIES": "1"}
    kept, _ = ask(f"{service.url}/echo", nobody)
    assert kept[0]["error"].startswith(f"there is no identity token for {service.url} (Neither metadata server")
    assert service.asked == []
