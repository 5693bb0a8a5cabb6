"""Large and unlucky graphs: what a hop costs does not grow, and what dies on the way is made good."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from database.keys import TaskKey
from run.clients import Clients
from run.engine.life import TaskLife
from run.errors import Unavailable
from run.kinds.kind import Finished, Kind, KindConfig, Work
from tests.engine_room import EngineRoom, ListPublisher
from tests.integration.engine.test_recovery import pass_time


class Killed(BaseException):
    """What no part of the service catches, as nothing catches SIGKILL."""


@contextmanager
def counted_statements(room: EngineRoom) -> Iterator[list[str]]:
    """Every statement that the database is given meanwhile; preparing one, once for a connection, does not count."""
    statements: list[str] = []
    engine = room.database.engine
    assert isinstance(engine, Engine)

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("PREPARE"):
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    yield statements
    event.remove(engine, "before_cursor_execute", count)


def statements_of_a_completion(room: EngineRoom, children: int) -> int:
    names = [f"c{number}" for number in range(children)]
    workflow = f"w{children}"
    room.apply({"root": [], **{name: ["root"] for name in names}}, workflow=workflow)
    room.start("x", workflow)
    room.publisher.messages.clear()
    key = room.key("root", "x", workflow)
    with counted_statements(room) as statements:
        room.life.execute(key)
    assert len(room.publisher.messages) == children
    return len(statements)


def test_a_completion_asks_as_few_questions_for_five_hundred_children_as_for_one(room: EngineRoom) -> None:
    one, two, many = (statements_of_a_completion(room, children) for children in (1, 2, 500))
    assert one == two == many
    assert (one, statements_of_a_completion(room, 0)) == (4, 5)


@pytest.mark.timeout(300)
def test_a_chain_of_a_thousand_tasks_is_no_recursion(room: EngineRoom) -> None:
    names = [f"t{number:04d}" for number in range(1000)]
    room.apply({name: names[max(0, n - 1) : n] for n, name in enumerate(names)})
    depths: list[int] = []
    room.told.orders = dict.fromkeys(names, lambda _work: depths.append(stack_depth()))
    room.start()
    room.deliver_all()
    assert [work.task for work in room.told.works] == names
    assert len(set(depths)) == 1
    assert room.batch_status() == "SUCCESS"


def stack_depth() -> int:
    frame, depth = inspect.currentframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_tasks_end_in_order_though_either_of_two_instances_dies_at_any_point(
    room: EngineRoom, seed: int
) -> None:
    chance = random.Random(seed)
    names = [f"t{number}" for number in range(100)]
    graph = {name: chance.sample(names[:n], min(n, chance.randint(0, 3))) for n, name in enumerate(names)}
    room.apply(graph)
    done: list[str] = []
    deaths: Counter[str] = Counter()
    room.told.orders = dict.fromkeys(names, lambda work: die_or_work(chance, deaths, done, work))
    workflow_id = room.start().workflow_id
    instances = [room, EngineRoom(room.database, told=room.told, publisher=room.publisher)]
    for instance in instances:
        instance.life = TaskLife(room.database, {"told": room.told}, DyingPublisher(room.publisher, chance), {})
    for _ in range(200):
        deliver_with_deaths(instances, workflow_id, chance)
        if room.batch_status() != "PROCESSING":
            break
        pass_time(room, 40)
        EngineRoom(room.database, publisher=room.publisher).sweep()
    assert room.batch_status() == "SUCCESS"
    assert sorted(done) == sorted(names)
    assert all(done.index(parent) < done.index(child) for child, parents in graph.items() for parent in parents)
    assert room.rows("SELECT count(*), count(DISTINCT task_id), max(attempt) FROM task_log") == [(100, 100, 1)]


def die_or_work(chance: random.Random, deaths: Counter[str], done: list[str], work: Work) -> None:
    # A third death in a row would be the end of the attempt, which another test is about.
    if chance.random() < 0.2 and deaths[work.task] < 2:
        deaths[work.task] += 1
        raise Killed
    done.append(work.task)


class DyingPublisher(ListPublisher):
    """Dies now and then between the commit and the publishing of its children."""

    def __init__(self, topic: ListPublisher, chance: random.Random) -> None:
        super().__init__()
        self._topic = topic
        self._chance = chance

    def publish(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if self._chance.random() < 0.2:
            raise Killed
        self._topic.publish(messages)


def deliver_with_deaths(instances: Sequence[EngineRoom], workflow_id: int, chance: random.Random) -> None:
    messages = instances[0].publisher.messages
    while messages:
        chance.shuffle(messages)
        message = messages.pop()
        if chance.random() < 0.2:
            messages.append(message)
        try:
            key = TaskKey(workflow_id, message["batch_id"], message["task_id"])
            chance.choice(instances).life.execute(key)
        except Killed:
            continue


class ToyConfig(KindConfig):
    """No keys."""


class Toy(Kind[ToyConfig]):
    """The least that a kind can be."""

    name = "toy"
    config = ToyConfig

    def start(self, config: ToyConfig, work: Work) -> Finished:
        return Finished()


class Forgetful(Toy):
    """A kind that breaks even its own promise."""

    name = "forgetful"

    def start(self, config: ToyConfig, work: Work) -> Finished:
        return None  # type: ignore[return-value]


class Impatient(Toy):
    """A kind whose other side is down."""

    name = "impatient"

    def start(self, config: ToyConfig, work: Work) -> Finished:
        raise Unavailable("nobody answers")


@pytest.mark.parametrize(
    ("kind", "statuses", "published"),
    [
        ("toy", {"a": "SUCCESS", "b": "NEW"}, ["a", "b"]),
        ("forgetful", {"a": "ERROR", "b": "SKIPPED:upstream_failed"}, ["a"]),
        ("impatient", {"a": "PROCESSING", "b": "WAITING"}, ["a"]),
    ],
)
def test_a_new_kind_cannot_forget_what_comes_after_its_work(
    room: EngineRoom, kind: str, statuses: dict[str, str], published: list[str]
) -> None:
    clients: Any = Clients
    kinds: dict[str, Kind[Any]] = {one.name: one(clients) for one in (Toy, Forgetful, Impatient)}
    room.life = TaskLife(room.database, kinds, room.publisher, {})
    room.apply({"a": [], "b": ["a"]}, details={"a": {"kind": kind}})
    room.start()
    room.execute("a")
    assert room.statuses() == statuses
    assert room.published() == published
