"""docs/python.md teaches what is so: its code runs, prints what it says, and its workflow is the one in its YAML."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from run.workflows.reader import read_workflows
from tests.servers.mail import HOST, MailServer, make_certificate
from tests.unit.workflows.test_python_workflow import KINDS
from tests.unit.workflows.toy_kinds import SETTINGS

DOCUMENT = (Path(__file__).parents[3] / "docs" / "python.md").read_text(encoding="utf-8")
MAIL_HOST = '("smtp.example.com", 587)'


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the code of the page stands; its module is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("people", None)


@pytest.fixture
def mail_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    with MailServer(certificate, "starttls", {"user": "from-a-secret-store"}) as server:
        yield server


def executed(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def write_code(folder: Path, server: MailServer) -> Path:
    code = "\n".join(blocks("python"))
    assert MAIL_HOST in code
    path = folder / "people.py"
    path.write_text(code.replace(MAIL_HOST, f"({HOST!r}, {server.port})"), encoding="utf-8")
    return path


def test_the_code_runs_and_prints_what_the_page_says(folder: Path, mail_server: MailServer) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        executed(write_code(folder, mail_server))
    assert printed.getvalue() == "".join(blocks("text"))
    assert "OUT     generate_report: People: Ann, Bob\n" in (folder / "logs" / "report.log").read_text()
    assert {file.name for file in (folder / "logs").iterdir()} == {"report.log", "work.log", "fetch.log"}


def test_the_mail_of_the_page_is_sent(folder: Path, mail_server: MailServer) -> None:
    executed(write_code(folder, mail_server))
    [mail] = mail_server.received
    assert mail.recipients == ("admin@example.com", "user@example.com")
    assert "Could not be executed because of it: generate_report" in mail.part("plain")
    assert "people = [{'name': 'Ann', 'age': 30}, {'name': 'Bob', 'age': 50}]" in mail.part("plain")


def test_the_workflow_in_python_is_the_one_in_yaml(folder: Path, mail_server: MailServer) -> None:
    yaml = blocks("yaml")[0]
    (folder / "people.yaml").write_text(yaml, encoding="utf-8")
    [read] = read_workflows([folder / "people.yaml"], KINDS, SETTINGS)
    [written] = read_workflows([write_code(folder, mail_server)], KINDS, SETTINGS)
    assert written == read
