"""People are told what has become of a batch: once for each outcome, by channels that may fail."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from database.sessions import Database
from database.statuses import Status
from run.cli.batch import rerun
from run.clients import Clients
from run.engine.channels import Channels, MailAccount
from run.engine.notifier import MOST_TRIES, Notifier, tell_again
from run.errors import PermanentFailure
from run.kinds.kind import Finished, Kind, KindConfig, Progress, Work
from run.notifications.message import Message
from run.settings import Settings
from run.workflows.channels import Channel
from run.workflows.function_keys import FunctionKeys
from tests.engine_room import ME, EngineRoom, Told, failing
from tests.integration.engine.test_growth import counted_statements
from tests.servers.hooks import HookServer
from tests.servers.mail import HOST, Certificate, MailServer, Received, make_certificate
from tests.servers.wire import Answered

DOCUMENT = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text()
USERS = {"teller": "swordfish-of-tellers"}
TO = ["ann@example.com", "bob@example.com"]
HOOK_KEY = "key-of-the-signed-hook"
API_TOKEN = "t0ken-that-tellers-hide"
CAKE = {"mix": [], "whip": [], "bake": ["mix"], "frost": ["bake", "whip"], "eat": ["frost"], "rest": []}


class RecipeConfig(KindConfig):
    """Something to show, and something to hide."""

    table: str = ""
    sql: str = ""
    password: str = ""
    headers: dict[str, Any] = Field(default_factory=dict)
    body: Any = None


class Recipe(Kind[RecipeConfig]):
    """Has something to configure, and fails as it is told."""

    name = "recipe"
    config = RecipeConfig

    def __init__(self) -> None:
        self.orders: dict[str, Callable[[Work], Mapping[str, Any] | None]] = {}

    def start(self, config: RecipeConfig, work: Work) -> Progress:
        order = self.orders.get(work.task)
        return Finished(order(work) or {}) if order else Finished()


class CallConfig(KindConfig, FunctionKeys):
    """The keys of a call."""


class Function(Told):
    """Stands for functions: what one does is told."""

    name = "python_function"
    config = CallConfig  # type: ignore[assignment]  # It has more keys.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def mail(certificate: Certificate) -> Iterator[MailServer]:
    with MailServer(certificate, "starttls", USERS) as server:
        assert server.port != 25
        yield server


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


def clients(hooks: HookServer) -> Clients:
    environment = {
        "DATABASE_URL": "postgresql://localhost/any",
        "GOOGLE_CLOUD_PROJECT": "local",
        "LANDING_BUCKET": "landing",
        "BIGQUERY_LOCATION": "EU",
        "SECRET_SLACK_URL": f"{hooks.url}/slack?team=of-the-cakes",
        "SECRET_HOOK_KEY": HOOK_KEY,
        "SECRET_API_TOKEN": API_TOKEN,
        "SECRETMANAGER_URL": hooks.url,
        "SECRET_SMTP_PASSWORD": USERS["teller"],
    }
    return Clients(Settings.from_environment(environment, serves=False))


def account(port: int, certificate: Certificate) -> MailAccount:
    return MailAccount(HOST, port, "starttls", "cakes@example.com", "teller", None, certificate.trusting())


@pytest.fixture
def channels(mail: MailServer, hooks: HookServer, certificate: Certificate) -> Channels:
    return Channels(clients(hooks), account(mail.port, certificate))


@pytest.fixture
def room(database: Database, channels: Channels) -> EngineRoom:
    return EngineRoom(database, more_kinds=[Recipe(), Function()], channels=channels)


def by_mail(*on: str, to: Sequence[str] = TO) -> list[dict[str, Any]]:
    channel = Channel.model_validate({"email": list(to), "on": list(on or ("failure",))})
    return [channel.model_dump(mode="json")]


def by(**keys: Any) -> list[dict[str, Any]]:
    return [Channel.model_validate(keys).model_dump(mode="json")]


def recipe(room: EngineRoom) -> Recipe:
    kind = room.life.kinds["recipe"]
    assert isinstance(kind, Recipe)
    return kind


def told(room: EngineRoom) -> list[tuple[Any, ...]]:
    """(event, outcome, status, tries) of every notification."""
    return room.rows("SELECT event, outcome, status, tries FROM notification ORDER BY notification_id")


def bake(room: EngineRoom, *fail: str, notify: Any = None, **details: Any) -> None:
    """A batch of the cake in which these tasks fail for good."""
    room.apply(CAKE, details=details, notify=by_mail() if notify is None else notify)
    for name in fail:
        room.told.orders[name] = failing(f"no {name} today")
    room.start()
    room.deliver_all()


def test_a_batch_with_two_failures_a_retry_and_duplicates_is_one_mail_to_all_recipients(
    room: EngineRoom, mail: MailServer
) -> None:
    room.apply(CAKE, details={"mix": {"retries": 1}}, notify=by_mail())
    room.told.orders |= {"mix": failing("no flour", passing=True), "whip": failing("no cream")}
    room.start()
    for name in ("mix", "mix", "whip", "whip", "rest"):
        room.execute(name)
    room.sweep()
    assert mail.received == [], "the batch has not ended: a retry is to come"
    room.pass_time(1000)
    room.sweep()
    room.deliver_all()
    for name in ("mix", "whip", "rest"):
        room.execute(name)
    assert room.sweep() == {"notification": 1}
    assert room.sweep() == {}
    [received] = mail.received
    assert received.recipients == tuple(TO)
    assert (received.user, received.secure) == ("teller", True)
    assert received.message["Subject"] == "Errors in 2 tasks of cake 2024-03: mix, whip"
    assert received.message["From"] == "cakes@example.com"
    text = received.part("plain")
    assert "mix (kind told)\n  no flour\n" in text
    assert "Could not be executed because of it: bake, frost, eat\n" in text
    assert "whip (kind told)\n  no cream\n" in text
    assert "python -m run batch rerun cake 2024-03 --failed" in text
    assert told(room) == [("failure", 1, "SENT", 1)]


def test_a_workflow_that_tells_nobody_writes_nothing_and_asks_nothing_more(room: EngineRoom) -> None:
    counts = []
    for workflow, notify in (("quiet", []), ("only_successes", by_mail("success"))):
        room.apply({"a": []}, workflow=workflow, notify=notify)
        room.told.orders["a"] = failing("no")
        room.start(workflow=workflow)
        with counted_statements(room) as statements:
            room.execute("a", workflow=workflow)
        counts.append(len(statements))
    assert told(room) == []
    assert counts[1] == counts[0] + 1


def test_who_dies_between_sending_and_writing_it_down_sends_it_again_under_the_same_id(
    room: EngineRoom, mail: MailServer, hooks: HookServer, channels: Channels
) -> None:
    class Died(BaseException):
        pass

    class Dying(Channels):
        def __init__(self) -> None:
            """Has what the others have."""

        def send(self, channel: Channel, message: Message) -> str | None:
            channels.send(channel, message)
            raise Died

    bake(room, "mix", notify=[*by_mail(), *by(webhook=f"{hooks.url}/hook")])
    dying = Notifier(room.database, room.life.results, Dying(), {})
    for (notification_id,) in room.rows("SELECT notification_id FROM notification"):
        with pytest.raises(Died):
            dying.send(notification_id)
    assert room.sweep() == {}, "somebody may still be sending it"
    room.pass_time(300)
    assert room.sweep() == {"notification": 2}
    first, second = mail.received
    assert first.message["Message-ID"] == second.message["Message-ID"]
    once, again = hooks.requests("POST")
    assert once.headers["idempotency-key"] == again.headers["idempotency-key"] == once.json["id"]
    assert once.body == again.body
    assert told(room) == [("failure", 1, "SENT", 2)] * 2


def test_a_mail_server_that_is_down_changes_no_outcome_and_the_mail_goes_when_it_is_back(
    database: Database, hooks: HookServer, mail: MailServer, certificate: Certificate
) -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        without = Channels(clients(hooks), account(closed.getsockname()[1], certificate))
        down = EngineRoom(database, channels=without)
        bake(down, "mix")
        assert down.sweep() == {"put_off": 1}
    assert down.batch_status() == "ERROR"
    assert told(down) == [("failure", 1, "DUE", 1)]
    assert "ConnectionRefusedError" in down.rows("SELECT problem FROM notification")[0][0]
    assert down.sweep() == {}, "it is not due before a minute is over"
    back = EngineRoom(database, channels=Channels(clients(hooks), account(mail.port, certificate)))
    back.pass_time(60)
    assert back.sweep() == {"notification": 1}
    assert len(mail.received) == 1
    assert back.batch_status() == "ERROR"


def test_the_pauses_between_tries_double_and_after_the_last_one_it_is_given_up_until_a_person_asks(
    room: EngineRoom, hooks: HookServer
) -> None:
    hooks.fails["POST /hook"] = [Answered(503, "busy")] * MOST_TRIES
    bake(room, "mix", notify=by(webhook=f"{hooks.url}/hook"))
    pauses = []
    for _ in range(MOST_TRIES - 1):
        assert room.sweep() == {"put_off": 1}
        [(pause,)] = room.rows("SELECT round(extract(epoch FROM due_at - clock_timestamp()) / 60) FROM notification")
        pauses.append(int(pause))
        room.pass_time(1800)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert room.sweep() == {"put_off": 1}
    assert told(room) == [("failure", 1, "GIVEN_UP", MOST_TRIES)]
    assert room.rows("SELECT problem FROM notification") == [("it was answered with 503: busy",)]
    room.pass_time(100_000)
    assert room.sweep() == {}
    room.database.transact(lambda tx: tell_again(tx, room.rows("SELECT notification_id FROM notification")[0][0], ME))
    assert room.sweep() == {"notification": 1}
    assert told(room) == [("failure", 1, "SENT", 1)]
    assert len({one.headers["idempotency-key"] for one in hooks.requests("POST")}) == 1


def test_a_worker_that_dies_with_every_try_does_so_only_a_few_times(room: EngineRoom, mail: MailServer) -> None:
    bake(room, "mix")
    room.change("UPDATE notification SET tries = :tries", tries=MOST_TRIES)
    assert room.sweep() == {"put_off": 1}
    assert told(room) == [("failure", 1, "GIVEN_UP", MOST_TRIES + 1)]
    assert mail.received == []


def test_each_outcome_of_a_batch_is_told_and_says_how_things_stood_then(room: EngineRoom, mail: MailServer) -> None:
    bake(room, "mix", notify=by_mail("failure", "success"))
    room.told.orders = {"mix": lambda _: {"eggs": 3, "api_key": "never-to-be-told"}}
    room.moves.rerun_batch("cake", "2024-03", ME, failed=True)
    room.deliver_all()
    assert told(room) == [("failure", 1, "DUE", 0), ("success", 2, "DUE", 0)]
    assert room.sweep() == {"notification": 2}
    by_subject = {received.message["Subject"]: received for received in mail.received}
    assert set(by_subject) == {"Error in task mix of cake 2024-03", "cake 2024-03 succeeded"}
    failure = by_subject["Error in task mix of cake 2024-03"].part("plain")
    assert "no mix today" in failure
    assert "Could not be executed because of it: bake, frost, eat\n" in failure
    success = by_subject["cake 2024-03 succeeded"].part("plain")
    assert re.search(r"^mix \(kind told\): SUCCESS, \d+(\.\d)? m?s$", success, re.MULTILINE)
    assert "  eggs = 3\n" in success
    assert "never-to-be-told" not in success
    assert len({received.message["Message-ID"] for received in mail.received}) == 2


def test_a_mark_that_makes_another_outcome_of_an_ended_batch_is_told(room: EngineRoom, mail: MailServer) -> None:
    room.apply({"a": []}, notify=by_mail("failure", "success"))
    room.start()
    room.deliver_all()
    room.moves.mark_task(room.task("a"), ME, Status.ERROR)
    assert [row[:2] for row in told(room)] == [("success", 1), ("failure", 2)]
    room.sweep()
    [failure] = [one for one in mail.received if one.message["Subject"].startswith("Error")]
    assert "a person said that it is ERROR" in failure.part("plain")


def test_a_cancelled_batch_is_told_as_a_failure(room: EngineRoom, mail: MailServer) -> None:
    room.apply({"a": [], "b": ["a"]}, notify=by_mail())
    room.start()
    room.moves.cancel_batch("cake", "2024-03", ME)
    room.sweep()
    [received] = mail.received
    assert received.message["Subject"] == "cake 2024-03 was cancelled"
    assert "Cancelled: a, b\n" in received.part("plain")


def test_a_missed_deadline_is_told_once_with_what_is_open_and_why(room: EngineRoom, mail: MailServer) -> None:
    notify = by_mail("missed_deadline", "success")
    room.apply({"a": [], "b": ["a"]}, details={"a": {"kind": "told_outside"}}, notify=notify, deadline_seconds=60)
    room.start()
    room.deliver_all()
    room.pass_time(61)
    room.sweep()
    room.pass_time(61)
    room.sweep()
    [received] = mail.received
    assert received.message["Subject"] == "cake 2024-03 has missed its deadline"
    text = received.part("plain")
    assert re.search(
        r"^a \(PROCESSING\)\n  waits for its end, for which each sweep asks \(job \S+\), since", text, re.MULTILINE
    )
    assert re.search(r"^b \(WAITING\)\n  waits for the end of its parents \(a\), since", text, re.MULTILINE)
    assert "How it stands now:\n  python -m run batch show cake 2024-03\n" in text
    assert room.batch_status() == "PROCESSING"
    room.told_outside.end_jobs()
    room.pass_time(61)
    room.sweep()
    room.deliver_all()
    room.sweep()
    assert [received.message["Subject"] for received in mail.received][1:] == ["cake 2024-03 succeeded"]


def test_a_deadline_that_cancels_tells_both(room: EngineRoom, mail: MailServer) -> None:
    notify = by_mail("missed_deadline", "failure")
    room.apply({"a": [], "b": ["a"]}, notify=notify, deadline_seconds=60, on_missed_deadline="cancel")
    room.start()
    room.pass_time(61)
    room.sweep()
    room.sweep()
    missed, cancelled = sorted(mail.received, key=lambda received: received.part("plain").count("was cancelled\n"))
    assert cancelled.message["Subject"] == "cake 2024-03 was cancelled"
    assert "The batch was cancelled because of it." in missed.part("plain")
    assert "b (WAITING)\n  waits for the end of its parents (a)" in missed.part("plain")


def test_a_task_tells_its_own_end_once_and_not_its_retries(room: EngineRoom, mail: MailServer) -> None:
    of_mix = by_mail("failure", "success", to=["mixer@example.com"])
    room.apply(CAKE, details={"mix": {"retries": 1, "notify": of_mix}})
    room.told.orders["mix"] = failing("no flour", passing=True)
    room.start()
    room.deliver_all()
    assert told(room) == []
    room.pass_time(1000)
    room.sweep()
    room.deliver_all()
    room.sweep()
    [received] = mail.received
    assert received.recipients == ("mixer@example.com",)
    assert received.message["Subject"] == "Error in task mix of cake 2024-03"
    assert "Could not be executed because of it: bake, frost, eat\n" in received.part("plain")
    room.told.orders = {}
    room.moves.rerun_batch("cake", "2024-03", ME, failed=True)
    room.deliver_all()
    room.sweep()
    assert mail.received[1].message["Subject"] == "Task mix of cake 2024-03 succeeded"
    assert told(room) == [("failure", 2, "SENT", 1), ("success", 3, "SENT", 1)]


def test_a_task_that_waits_for_a_completion_message_tells_its_end_too(room: EngineRoom) -> None:
    room.apply({"a": []}, details={"a": {"kind": "told_external", "notify": by_mail()}})
    room.start()
    room.deliver_all()
    room.completed("a", "ERROR", error="the oven is cold")
    room.completed("a", "ERROR", error="the oven is cold")
    assert told(room) == [("failure", 1, "DUE", 0)]


HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def hostile(room: EngineRoom, mail: MailServer) -> Received:
    """The mail about a task that was configured with secrets, and says them."""

    def fail(_work: Work) -> None:
        raise PermanentFailure(f"{HOSTILE} with {API_TOKEN} and pass-word-of-recipes")

    config = {
        "table": "cakes.{batch_id}",
        "sql": f"SELECT '{HOSTILE}'",
        "password": "pass-word-of-recipes",
        "headers": {"X-Who": {"secret": "API_TOKEN"}, "X-Batch": "{period}"},
    }
    recipe(room).orders["a"] = fail
    room.apply({"a": []}, details={"a": {"kind": "recipe", "config": config}}, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    [received] = mail.received
    return received


def test_the_mail_shows_the_configuration_that_the_task_really_had(hostile: Received) -> None:
    text = hostile.part("plain")
    assert "a (kind recipe)" in text
    assert "  table = 'cakes.2024-03'\n" in text
    assert "  headers = {'X-Who': <the secret API_TOKEN>, 'X-Batch': '2024-03'}\n" in text


def test_the_results_of_parents_are_in_it_as_they_were(room: EngineRoom, mail: MailServer) -> None:
    room.told.orders["count"] = lambda _: {"rows": 3, "words": ["x"]}
    recipe(room).orders["load"] = failing("no")
    function = room.life.kinds["python_function"]
    assert isinstance(function, Function)
    function.orders["call"] = failing("no")
    call = {"function": "cakes:bake", "args": [180], "kwargs": {"how": "preset"}, "results_as_kwargs": {"how": "count"}}
    details = {
        "load": {"kind": "recipe", "config": {"table": "t_{results.count.rows}"}, "reads_results": ["count"]},
        "call": {"kind": "python_function", "config": call, "reads_results": ["count"]},
    }
    room.apply({"count": [], "load": ["count"], "call": ["count"]}, details=details, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert "load (kind recipe)\n  no\n\nConfigured with\n  table = 't_3'\n" in text
    assert (
        "call (function cakes:bake)\n  no\n\nCalled with\n  args[0] = 180\n  how = {'rows': 3, 'words': ['x']}\n"
        in text
    )


def test_a_function_is_told_with_its_templates_filled_in_and_its_secrets_by_their_names(
    room: EngineRoom, mail: MailServer
) -> None:
    function = room.life.kinds["python_function"]
    assert isinstance(function, Function)
    function.orders["call"] = failing("no")
    room.told.orders["order"] = lambda _: {"said": "{batch_id}"}
    kwargs = {"where": {"month": "{period}"}, "key": {"secret": "API_TOKEN"}}
    call = {"function": "cakes:bake", "args": ["{batch_id}"], "kwargs": kwargs, "results_as_args": ["order"]}
    details = {"call": {"kind": "python_function", "config": call, "reads_results": ["order"]}}
    room.apply({"order": [], "call": ["order"]}, details=details, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert "  args[0] = '2024-03'\n" in text
    assert "  args[1] = {'said': '{batch_id}'}\n" in text, "a result is no template"
    assert "  key = <the secret API_TOKEN>\n  where = {'month': '2024-03'}\n" in text


def test_a_value_that_is_called_secret_is_not_taken_for_the_name_of_one(room: EngineRoom, mail: MailServer) -> None:
    function = room.life.kinds["python_function"]
    assert isinstance(function, Function)
    function.orders["call"] = recipe(room).orders["post"] = failing("no")
    kwargs = {"secret": "written-in-kwargs", "deep": {"secret": "written-deep-in-kwargs", "host": "h"}}
    details = {
        "call": {"kind": "python_function", "config": {"function": "cakes:bake", "kwargs": kwargs}},
        "post": {"kind": "recipe", "config": {"body": {"secret": "written-in-a-body"}}},
    }
    room.apply({"call": [], "post": []}, details=details, notify=by_mail())
    room.start()
    room.deliver_all()
    assert room.sweep() == {"notification": 1}
    text = mail.received[0].part("plain")
    assert "written-" not in text
    assert "  deep = {'host': 'h', 'secret': [hidden]}\n  secret = [hidden]\n" in text
    assert "  body = {'secret': [hidden]}\n" in text


def test_a_failure_for_want_of_a_result_is_told_as_it_was_written(room: EngineRoom, mail: MailServer) -> None:
    details = {"a": {}, "b": {"kind": "recipe", "config": {"table": "t_{results.a.no}"}, "reads_results": ["a"]}}
    room.apply({"a": [], "b": ["a"]}, details=details, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    assert "  table = 't_{results.a.no}'\n" in mail.received[0].part("plain")


def test_secrets_are_in_no_part_of_the_mail(hostile: Received) -> None:
    for kind in ("plain", "html"):
        assert API_TOKEN not in hostile.part(kind)
        assert "pass-word-of-recipes" not in hostile.part(kind)
        assert "[hidden]" in hostile.part(kind)


def test_what_the_mail_quotes_is_escaped(hostile: Received) -> None:
    assert HOSTILE in hostile.part("plain")
    assert "<script" not in hostile.part("html")
    assert hostile.part("html").count("&lt;script&gt;") == 2


def test_an_error_that_nobody_expected_is_told_with_its_traceback(room: EngineRoom, mail: MailServer) -> None:
    def fail(_work: Work) -> None:
        raise KeyError("flour")

    recipe(room).orders["a"] = fail
    room.apply({"a": []}, details={"a": {"kind": "recipe"}}, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert "a (kind recipe)\n  KeyError: 'flour'\n" in text
    assert re.search(r'File "[^"]*test_notifications.py", line \d+, in fail', text)


def test_of_a_mapped_task_the_first_element_that_failed_is_told(room: EngineRoom, mail: MailServer) -> None:
    def cook(work: Work) -> None:
        if work.item != "pie":
            raise KeyError(f"{work.item} is burnt")

    room.told.orders["list"] = lambda _: {"dishes": ["pie", "soup", "cake"]}
    recipe(room).orders["cook"] = cook
    config = {"table": "{item}_{element}_{period}_{results.list.dishes.0}"}
    mapped = {"kind": "recipe", "config": config, "map": {"over": "list.dishes", "max_failures": 0}}
    mapped["reads_results"] = ["list"]
    room.apply({"list": [], "cook": ["list"], "serve": ["cook"]}, details={"cook": mapped}, notify=by_mail())
    room.start()
    room.deliver_all()
    # It is told how it was, and not how it has become since.
    recipe(room).orders = {}
    room.moves.rerun_task(room.task("cook", element=1), ME)
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert "cook (kind recipe)\n  2 of 3 elements failed: 1, 2\nElement 1: KeyError: 'soup is burnt'\n" in text
    assert "Configured with\n  table = 'soup_1_2024-03_pie'\n" in text
    assert re.search(r'File "[^"]*test_notifications.py", line \d+, in cook', text)
    assert "Could not be executed because of it: serve\n" in text


def test_an_element_that_failed_for_want_of_a_part_of_its_item_is_told_as_it_was_written(
    room: EngineRoom, mail: MailServer
) -> None:
    room.told.orders["list"] = lambda _: {"dishes": [{"name": "pie"}]}
    mapped = {"kind": "recipe", "config": {"table": "{item.nam}"}, "map": {"over": "list.dishes", "max_failures": 0}}
    room.apply({"list": [], "cook": ["list"]}, details={"cook": mapped}, notify=by_mail())
    room.start()
    room.deliver_all()
    assert room.sweep() == {"notification": 1}
    text = mail.received[0].part("plain")
    assert "without 'nam'; did you mean 'name'?" in text
    assert "  table = '{item.nam}'\n" in text


def test_an_error_of_several_lines_is_told_from_its_type_on(room: EngineRoom, mail: MailServer) -> None:
    def fail(_work: Work) -> None:
        try:
            raise KeyError("flour")
        except KeyError:
            raise ValueError("2 mistakes\n  no flour\nsee the recipe") from None

    recipe(room).orders["a"] = fail
    room.apply({"a": []}, details={"a": {"kind": "recipe"}}, notify=by_mail())
    room.start()
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert "a (kind recipe)\n  ValueError: 2 mistakes\n  no flour\nsee the recipe\n\nTraceback" in text


@pytest.mark.parametrize(
    ("batch", "command"),
    [
        ("-x y", "python -m run batch rerun --failed -- cake '-x y'"),
        ("it's; rm", """python -m run batch rerun cake 'it'"'"'s; rm' --failed"""),
    ],
)
def test_the_command_to_go_on_can_be_given_to_a_shell_as_it_is(
    room: EngineRoom, mail: MailServer, batch: str, command: str
) -> None:
    room.apply({"a": []}, notify=by_mail())
    room.told.orders["a"] = failing("no")
    room.start(batch)
    room.deliver_all()
    room.sweep()
    assert mail.received[0].part("plain").endswith(f"To go on from there:\n  {command}\n")
    words = shlex.split(command)
    with rerun.make_context("rerun", words[words.index("rerun") + 1 :]) as context:
        assert (context.params["workflow"], context.params["batch_id"]) == ("cake", batch)
        assert context.params["failed"] is True


def test_of_very_many_failures_ten_are_told_in_full_and_the_others_by_name(room: EngineRoom, mail: MailServer) -> None:
    names = [f"t{number:02d}" for number in range(12)]
    room.apply({**{name: [] for name in names}, "end": names}, notify=by_mail())
    room.told.orders = {name: failing("no") for name in names}
    room.start()
    room.deliver_all()
    room.sweep()
    text = mail.received[0].part("plain")
    assert text.count("(kind told)") == 10
    assert "Failed too: t10, t11\n" in text


def test_recipients_that_the_server_refuses_are_named_and_the_others_get_one_mail(
    room: EngineRoom, mail: MailServer
) -> None:
    mail.refuses = {"bob@example.com"}
    bake(room, "mix")
    assert room.sweep() == {"notification": 1}
    assert [received.recipients for received in mail.received] == [("ann@example.com",)]
    assert room.rows("SELECT status, problem FROM notification") == [
        ("SENT", f"{HOST} took it, but not for bob@example.com")
    ]


def test_a_mail_that_was_taken_is_sent_whatever_the_server_says_at_the_end(room: EngineRoom, mail: MailServer) -> None:
    mail.farewell = "421 4.3.2 going down"
    bake(room, "mix")
    assert room.sweep() == {"notification": 1}
    assert len(mail.received) == 1
    assert told(room) == [("failure", 1, "SENT", 1)]


def test_without_a_mail_server_mail_is_put_off_and_says_so(database: Database, hooks: HookServer) -> None:
    room = EngineRoom(database, channels=Channels(clients(hooks), None))
    bake(room, "mix")
    assert room.sweep() == {"put_off": 1}
    assert "SMTP_HOST" in room.rows("SELECT problem FROM notification")[0][0]


def is_ours() -> Callable[[Mapping[str, str], bytes, str], bool]:
    """The function by which the document verifies a signature."""
    [code] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    function: Callable[[Mapping[str, str], bytes, str], bool] = names["is_ours"]
    return function


def test_a_webhook_is_signed_as_the_document_verifies_it(room: EngineRoom, hooks: HookServer) -> None:
    bake(room, "mix", notify=by(webhook=f"{hooks.url}/hook", sign_with={"secret": "HOOK_KEY"}))
    room.sweep()
    [asked] = hooks.requests("POST", "/hook")
    headers = {"X-Timestamp": asked.headers["x-timestamp"], "X-Signature": asked.headers["x-signature"]}
    verify = is_ours()
    assert verify(headers, asked.body, HOOK_KEY)
    assert not verify(headers, asked.body, "another key")
    assert not verify(headers, asked.body + b" ", HOOK_KEY)
    assert not verify({**headers, "X-Timestamp": str(int(headers["X-Timestamp"]) - 1)}, asked.body, HOOK_KEY)


def test_a_webhook_is_told_everything_as_json(room: EngineRoom, hooks: HookServer) -> None:
    bake(room, "mix", notify=by(webhook=f"{hooks.url}/hook"))
    room.sweep()
    [asked] = hooks.requests("POST", "/hook")
    said = asked.json
    about = {key: said[key] for key in ("event", "workflow", "batch", "task", "status", "outcome")}
    assert about == {
        "event": "failure", "workflow": "cake", "batch": "2024-03", "task": None, "status": "ERROR", "outcome": 1,
    }  # fmt: skip
    [failed] = said["report"]["failed"]
    assert (failed["name"], failed["error"]) == ("mix", "no mix today")
    assert failed["not_executed"] == ["bake", "frost", "eat"]
    assert said["report"]["command"] == "python -m run batch rerun cake 2024-03 --failed"
    assert "x-signature" not in asked.headers


def test_slack_is_told_in_plain_text(room: EngineRoom, hooks: HookServer) -> None:
    room.told.orders["mix"] = failing("<!channel> *no* flour & water")
    bake(room, notify=by(slack={"secret": "SLACK_URL"}))
    assert room.sweep() == {"notification": 1}
    [asked] = hooks.requests("POST", "/slack")
    assert asked.json["text"] == "Error in task mix of cake 2024-03"
    header, *sections = asked.json["blocks"]
    assert header == {"type": "header", "text": {"type": "plain_text", "text": asked.json["text"]}}
    assert {section["text"]["type"] for section in sections} == {"plain_text"}
    told_there = "\n".join(section["text"]["text"] for section in sections)
    assert "mix (kind told)\n<!channel> *no* flour & water\n" in told_there
    assert "Could not be executed because of it: bake, frost, eat" in told_there


def test_an_address_that_is_a_secret_is_in_no_problem(room: EngineRoom, hooks: HookServer) -> None:
    hooks.fails["POST /slack"] = [Answered(404, f"there is no {hooks.url}/slack")]
    bake(room, "mix", notify=by(slack={"secret": "SLACK_URL"}))
    room.sweep()
    [(problem,)] = room.rows("SELECT problem FROM notification")
    assert problem == "it was answered with 404: there is no [hidden]"


def test_a_secret_is_hidden_in_a_problem_that_is_too_long_to_be_told_whole(room: EngineRoom, hooks: HookServer) -> None:
    url = f"{hooks.url}/slack"
    hooks.fails["POST /slack"] = [Answered(404, f"{'x' * (500 - len(url) // 2)}{url}")]
    bake(room, "mix", notify=by(slack={"secret": "SLACK_URL"}))
    room.sweep()
    [(problem,)] = room.rows("SELECT problem FROM notification")
    assert hooks.url not in problem
    assert "//" not in problem


def test_a_secret_that_is_not_there_is_a_problem_that_names_it(room: EngineRoom, hooks: HookServer) -> None:
    bake(room, "mix", notify=by(webhook=f"{hooks.url}/hook", sign_with={"secret": "NO_SUCH_KEY"}))
    assert room.sweep() == {"put_off": 1}
    assert "NO_SUCH_KEY" in room.rows("SELECT problem FROM notification")[0][0]
    assert hooks.requests("POST") == []


def test_a_secret_is_in_nothing_that_is_posted(room: EngineRoom, hooks: HookServer) -> None:
    notify = [*by(webhook=f"{hooks.url}/hook", on=["success"]), *by(slack={"secret": "SLACK_URL"}, on=["success"])]
    room.apply({"a": []}, notify=notify)
    # Whoever names a batch after a secret shall not find it in a channel.
    room.start(API_TOKEN)
    room.deliver_all()
    assert room.sweep() == {"notification": 2}
    assert len(hooks.asked) == 2
    assert not any(API_TOKEN.encode() in one.body for one in hooks.asked)


def test_two_who_would_send_the_same_at_once_send_it_once(room: EngineRoom, hooks: HookServer) -> None:
    hooks.slow["POST /hook"] = 1
    bake(room, "mix", notify=by(webhook=f"{hooks.url}/hook"))
    [(notification_id,)] = room.rows("SELECT notification_id FROM notification")
    channels = room.channels
    assert channels is not None
    senders = [Notifier(room.database, room.life.results, channels, {}) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda sender: sender.send(notification_id), senders))
    assert len(hooks.requests("POST")) == 1
    assert told(room) == [("failure", 1, "SENT", 1)]


def test_the_mail_about_a_mapped_task_says_why_its_first_element_has_failed(room: EngineRoom, mail: MailServer) -> None:
    mapped = {"map": {"over": "list.dishes", "max_failures": 0}}
    room.apply({"list": [], "cook": ["list"]}, details={"cook": mapped}, notify=by_mail())
    room.told.orders |= {"list": lambda _work: {"dishes": ["soup", "pie"]}, "cook": failing("no gas")}
    room.start()
    room.deliver_all()
    room.sweep()
    [received] = mail.received
    assert "cook (kind told)\n  2 of 2 elements failed: 0, 1\nElement 0: no gas\n" in received.part("plain")
