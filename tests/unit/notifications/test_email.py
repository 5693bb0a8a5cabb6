"""Mail about a failure, handed in to a real SMTP server."""

from __future__ import annotations

import logging
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from run.notifications.email import HTMLSMTPHandler, MailRefused, SmtpServer, mail_of
from run.notifications.failure import FailedTask, FailureReport
from run.notifications.rendering import Rendered, render_failure
from run.workflows import Process, ProcessReport, Task, TaskDependency
from tests.servers.mail import HOST, Certificate, MailServer, Received, make_certificate

TO = ["admin@example.com", "user@example.com"]
USERS = {"mailer": "correct horse"}
REPORT = FailureReport("Process", [FailedTask("load", "function loads.load", "ValueError: no")], datetime.now(UTC))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(certificate: Certificate) -> Iterator[MailServer]:
    with MailServer(certificate, "starttls", USERS) as running:
        yield running


def handler(server: MailServer, certificate: Certificate, **details: Any) -> HTMLSMTPHandler:
    """As the example sets it up, on another port than 25."""
    details = {"credentials": ("mailer", "correct horse"), **details}
    return HTMLSMTPHandler(
        (HOST, server.port), "sender@example.com", TO, use_tls=True, tls=certificate.trusting(), **details
    )


def positional(parent: str) -> TaskDependency:
    return TaskDependency(parent, use_result_as_additional_args=True)


def fetch() -> dict[str, Any]:
    return {"rows": [1, 2], "token": "t0ken-of-the-day"}


def load(data: dict[str, Any], table: str, password: str = "", **more: Any) -> None:
    data["rows"].clear()
    raise ValueError(f"<script>alert('{table}')</script> & {password} & {data['token']}")


def failing_tasks(folder: Path, mail: HTMLSMTPHandler | None) -> list[Task]:
    """fetch -> load, which fails -> kid -> grandkid; other runs; grandkid needs it too."""
    return [
        Task("fetch", folder / "log", fetch),
        Task(
            "load",
            folder / "log",
            load,
            kwargs={"table": "sales", "password": "hunter2-hunter2", "limit": 5},
            dependencies=[positional("fetch")],
            html_mail_handler=mail,
        ),
        Task("kid", folder / "log", print, dependencies=[TaskDependency("load")]),
        Task("grandkid", folder / "log", print, dependencies=[TaskDependency("kid"), TaskDependency("other")]),
        Task("other", folder / "log", print),
    ]


def run(tasks: Sequence[Task], *, parallel: bool = True) -> ProcessReport:
    with Process(tasks) as process:
        return process.run(parallel=parallel)


@pytest.fixture
def mail(server: MailServer, certificate: Certificate, tmp_path: Path) -> Received:
    """The one mail about the failure of load."""
    run(failing_tasks(tmp_path, handler(server, certificate)))
    [received] = server.received
    return received


def test_one_mail_goes_to_all_recipients_with_credentials_over_tls(mail: Received, server: MailServer) -> None:
    assert server.port != 25
    assert mail.recipients == tuple(TO)
    assert (mail.user, mail.secure, mail.sender) == ("mailer", True, "sender@example.com")
    assert mail.message["To"] == "admin@example.com, user@example.com"
    assert mail.message["From"] == "sender@example.com"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["Message-ID"].endswith("@example.com>")


def test_the_mail_names_the_failing_task(mail: Received) -> None:
    assert mail.message["Subject"] == "Error in task load"
    for kind in ("plain", "html"):
        assert "Error in task load" in mail.part(kind)


def test_the_mail_shows_the_function_with_the_arguments_it_really_had(mail: Received) -> None:
    assert f"function {__name__}.load" in mail.part("plain")
    assert "data = {'rows': [1, 2], 'token': [hidden]}" in mail.part("plain")
    assert "table = 'sales'" in mail.part("plain")
    assert "limit = 5" in mail.part("plain")


def test_no_secret_is_in_the_mail(mail: Received) -> None:
    for kind in ("plain", "html"):
        text = mail.part(kind)
        assert "hunter2" not in text
        assert "t0ken-of-the-day" not in text
        assert "[hidden]" in text
    assert "password = [hidden]" in mail.part("plain")


def test_the_mail_has_the_traceback_down_to_the_line_of_the_raise(mail: Received) -> None:
    line = load.__code__.co_firstlineno + 2
    assert f'File "{__file__}", line {line}, in load' in mail.part("plain")
    assert "Traceback (most recent call last):" in mail.part("html")
    assert "ValueError" in mail.part("html")


def test_the_mail_lists_all_tasks_that_could_not_be_executed(mail: Received) -> None:
    assert "Could not be executed because of it: kid, grandkid\n" in mail.part("plain")
    assert ">kid, grandkid</p>" in mail.part("html")


def test_what_a_mail_quotes_is_escaped(mail: Received) -> None:
    html = mail.part("html")
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#39;sales&#39;)&lt;/script&gt;" in html
    assert "<script>" in mail.part("plain")


def test_a_task_without_a_handler_sends_nothing(server: MailServer, certificate: Certificate, tmp_path: Path) -> None:
    report = run(failing_tasks(tmp_path, None))
    assert list(report.errors) == ["load"]
    assert server.received == []


def test_every_failure_of_every_run_is_told_once(server: MailServer, certificate: Certificate, tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError

    tell = handler(server, certificate)
    tasks = [
        Task("first", tmp_path / "log", fail, html_mail_handler=tell),
        Task("second", tmp_path / "log", fail, html_mail_handler=tell),
        Task("below_both", tmp_path / "log", print, dependencies=[TaskDependency("first"), TaskDependency("second")]),
        Task("good", tmp_path / "log", print, html_mail_handler=tell),
    ]
    with Process(tasks) as process:
        process.run()
        process.run(parallel=True)
    assert sorted(mail.message["Subject"] for mail in server.received) == [
        *["Error in task first"] * 2,
        *["Error in task second"] * 2,
    ]
    # It could not run because of the one, nor because of the other.
    assert all("because of it: below_both\n" in mail.part("plain") for mail in server.received)


def test_a_subject_of_ones_own_stands_instead(server: MailServer, certificate: Certificate, tmp_path: Path) -> None:
    run(failing_tasks(tmp_path, handler(server, certificate, subject="Nightly\r\nload: töten")))
    assert [mail.message["Subject"] for mail in server.received] == ["Nightly load: töten"]


def test_tls_from_the_first_byte_on(certificate: Certificate) -> None:
    with MailServer(certificate, "tls", USERS) as server:
        to = SmtpServer(HOST, server.port, "tls", ("mailer", "correct horse"), tls=certificate.trusting())
        to.send(mail_of(render_failure(REPORT), "Ann <ann@example.com>", TO, message_id="<batch.7@example.com>"))
    [mail] = server.received
    assert (mail.user, mail.sender, mail.message["Message-ID"]) == (
        "mailer",
        "ann@example.com",
        "<batch.7@example.com>",
    )


@pytest.mark.parametrize(
    ("use_tls", "port", "security"), [(True, 587, "starttls"), (True, 465, "tls"), (False, 25, "none")]
)
def test_the_port_is_kept_and_says_which_tls_is_meant(port: int, security: str, *, use_tls: bool) -> None:
    server = HTMLSMTPHandler(("smtp_server", port), "sender@example.com", TO, use_tls=use_tls).server
    assert (server.host, server.port, server.security) == ("smtp_server", port, security)


def test_without_credentials_and_tls_a_mail_goes_in_the_clear() -> None:
    with MailServer() as server:
        HTMLSMTPHandler((HOST, server.port), "sender@example.com", TO).send(REPORT)
    assert [(mail.user, mail.secure) for mail in server.received] == [(None, False)]


def test_credentials_in_the_clear_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="credentials for localhost are sent over TLS only; write use_tls=True"):
        HTMLSMTPHandler(("localhost", 25), "sender@example.com", TO, credentials=("user", "a password"))


def test_a_server_without_starttls_never_sees_the_credentials(certificate: Certificate) -> None:
    with MailServer(users=USERS) as server:
        with pytest.raises(smtplib.SMTPNotSupportedError, match="STARTTLS"):
            handler(server, certificate).send(REPORT)
        assert server.received == []


def test_a_certificate_that_nobody_trusts_is_refused(server: MailServer, certificate: Certificate) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        HTMLSMTPHandler((HOST, server.port), "sender@example.com", TO, use_tls=True).send(REPORT)
    assert server.received == []


@pytest.mark.parametrize("address", ["nobody", "", "a@x\nBcc: b@x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address such as"):
        HTMLSMTPHandler(("localhost", 25), address, TO)
    with pytest.raises(ValueError, match="is no address such as"):
        HTMLSMTPHandler(("localhost", 25), "sender@example.com", [*TO, address])
    with pytest.raises(ValueError, match="at least one recipient"):
        HTMLSMTPHandler(("localhost", 25), "sender@example.com", [])


def test_the_password_is_in_no_text_about_the_handler(server: MailServer, certificate: Certificate) -> None:
    assert "correct horse" not in repr(handler(server, certificate))
    assert "admin@example.com" in repr(handler(server, certificate))


def test_a_recipient_that_is_refused_does_not_cost_the_others_their_mail(
    server: MailServer, certificate: Certificate
) -> None:
    server.refuses = {"user@example.com"}
    with pytest.raises(MailRefused, match=r"took it, but not for user@example\.com"):
        handler(server, certificate).send(REPORT)
    assert [mail.recipients for mail in server.received] == [("admin@example.com",)]


@pytest.mark.parametrize("wrong", ["password", "nobody listens", "all refused"])
def test_a_mail_that_fails_changes_nothing_but_the_log(
    server: MailServer, certificate: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    sends = handler(server, certificate)
    if wrong == "password":
        sends = handler(server, certificate, credentials=("mailer", "wrong horse"))
    elif wrong == "nobody listens":
        with socket.create_server((HOST, 0)) as closed:
            port = closed.getsockname()[1]
        sends = HTMLSMTPHandler((HOST, port), "sender@example.com", TO)
    else:
        server.refuses = set(TO)
    with caplog.at_level(logging.WARNING):
        report = run(failing_tasks(tmp_path, sends))
    assert (list(report.successes), list(report.errors)) == (["fetch", "other"], ["load"])
    assert list(report.skipped) == ["kid", "grandkid"]
    [warning] = [record.message for record in caplog.records if record.name.startswith("run.")]
    assert warning.startswith("the mail about task load was not sent: ")
    assert warning in (tmp_path / "log").read_text()
    assert "horse" not in warning


def test_a_handler_that_breaks_changes_nothing_but_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HTMLSMTPHandler):
        def send(self, report: FailureReport) -> None:
            raise ZeroDivisionError

    report = run(failing_tasks(tmp_path, Broken((HOST, 25), "sender@example.com", TO)))
    assert list(report.errors) == ["load"]
    assert "the mail about task load was not sent: ZeroDivisionError" in caplog.text


def test_a_mail_server_that_hangs_holds_up_no_task_and_ends_with_its_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[float] = []
    with socket.create_server((HOST, 0)) as silent:
        sends = HTMLSMTPHandler((HOST, silent.getsockname()[1]), "sender@example.com", TO, timeout=2)
        chain = [
            Task(
                f"t{number}",
                tmp_path / "log",
                lambda: ended.append(time.monotonic()),
                dependencies=[TaskDependency(f"t{number - 1}" if number else "fetch")],
            )
            for number in range(20)
        ]
        began = time.monotonic()
        report = run([*failing_tasks(tmp_path, sends), *chain])
        lasted = time.monotonic() - began
    assert list(report.errors) == ["load"]
    assert max(ended) - began < 1.8
    assert 2 <= lasted < 9
    assert re.search("the mail about task load was not sent: .*timed out", caplog.text)


def test_texts_that_no_mail_can_hold_do_not_cost_the_mail(server: MailServer, certificate: Certificate) -> None:
    odd = Rendered("half \ud800 a pair\n", "x\ud800\0y", "<p>x\ud800y</p>")
    handler(server, certificate).server.send(mail_of(odd, "sender@example.com", TO))
    [mail] = server.received
    assert mail.message["Subject"] == "half ? a pair"
    assert mail.part("plain").startswith("x?")


def test_threads_may_share_a_handler(server: MailServer, certificate: Certificate) -> None:
    shared = handler(server, certificate)
    threads = [threading.Thread(target=shared.send, args=(REPORT,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(server.received) == 5
    assert len({mail.message["Message-ID"] for mail in server.received}) == 5
