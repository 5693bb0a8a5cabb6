"""The same functions give the same in one process and as a workflow of the service, whatever their order and graph.

Where a test runs hundreds of batches, their functions are called in this process and not in children of their own,
which would take a quarter of an hour; everything else is the service's. Only rounds are fewer in children, and in the
second reading of the six tasks: an order that makes the same version is the same to the service.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count, permutations
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from database.sessions import Database
from run.clients import Clients
from run.kinds.kind import Progress, Work
from run.kinds.python_function import PythonFunction, PythonFunctionConfig, progress_of
from run.notifications.failure import call_of
from run.workflows import Process, Task, Workflow
from run.workflows.function_call import outcome_of_call
from tests import function_room
from tests.engine_room import EngineRoom
from tests.function_room import FunctionRoom
from tests.six_tasks import RESULTS, six_tasks
from tests.unit.workflows.test_process_against_model import Plan, Told, graphs, model, task_of, told_by

#: So many of the 720 orders are run in children, too.
ORDERS_IN_CHILDREN = 4
GRAPHS_IN_CHILDREN = int(os.environ.get("FUNCTION_GRAPHS", "4"))
both_readings = pytest.mark.parametrize("waits", [False, True], ids=["as in its code", "as in its list"])
_numbers = count(1)


class FunctionHere(PythonFunction):
    """The kind as it is, but for the child process."""

    def start(self, config: PythonFunctionConfig, work: Work) -> Progress:
        args, kwargs = config.effective(work.results)
        return progress_of(outcome_of_call(config.function, args, kwargs, work.task), {}, call_of(args, kwargs))


@pytest.fixture
def here(database: Database) -> FunctionRoom:
    """An engine that calls functions in this process."""
    room = FunctionRoom(database)
    room.engine = EngineRoom(database, more_kinds=[FunctionHere(Clients(function_room.settings()))])
    return room


def six(order: Sequence[Task] | None = None, *, waits: bool = False) -> Workflow:
    tasks = order or six_tasks("/dev/null", stats_waits_for_validate=waits)
    return Workflow("people", tasks, batch="{period}")


def orders(*, waits: bool) -> Iterator[Sequence[Task]]:
    return permutations(six_tasks("/dev/null", stats_waits_for_validate=waits))


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("waits", "rounds"), [(False, 720), (True, 24)], ids=["as in its code", "as in its list"])
def test_all_720_orders_of_creation_make_one_version_and_give_what_they_give_in_one_process(
    here: FunctionRoom, *, waits: bool, rounds: int
) -> None:
    digests = set()
    for number, order in enumerate(orders(waits=waits)):
        version = here.version(six(order))
        digests.add(version.digest)
        if number % (720 // rounds) == 0:
            here.store(version)
            key = here.engine.start(f"order-{number}", "people")
            here.engine.deliver_all()
            assert here.results(key) == RESULTS, [task.name for task in order]
    assert (number + 1, len(digests)) == (720, 1)
    assert here.engine.rows("SELECT status, count(*) FROM task_batch GROUP BY 1") == [("SUCCESS", rounds)]


@both_readings
def test_the_six_tasks_give_in_children_of_the_service_what_they_give_in_one_process(
    functions: FunctionRoom, tmp_path: Any, *, waits: bool
) -> None:
    for number, order in enumerate(list(orders(waits=waits))[:: 720 // ORDERS_IN_CHILDREN]):
        key = functions.engine.start(f"order-{number}", functions.apply(six(order)))
        while functions.engine.publisher.messages:
            # In every other batch the message that was published last comes first.
            functions.engine.publisher.messages.sort(key=lambda one: one["task_id"], reverse=bool(number % 2))
            functions.engine.deliver_first()
        assert functions.results(key) == RESULTS, [task.name for task in order]
    with Process(six_tasks(tmp_path, stats_waits_for_validate=waits)) as process:
        assert process.run(parallel=True).results == RESULTS


def told_by_the_service(room: FunctionRoom, workflow: str) -> dict[str, Told]:
    """How the tasks of its batch have ended."""
    told = {}
    for task, status, cause, result, raised in room.engine.rows(
        "SELECT t.name, b.status, b.skip_cause, l.result, l.details -> 'raised' ->> 'type' FROM batch_task b "
        "JOIN task t USING (task_id) JOIN workflow w ON w.workflow_id = t.workflow_id "
        "LEFT JOIN task_log l ON l.task_id = b.task_id AND l.batch_id = b.batch_id WHERE w.name = :w",
        w=workflow,
    ):
        assert status in {"SUCCESS", "ERROR", "SKIPPED"}, task
        told[task] = Told(result=result, error=raised or "", cause=cause or "")
    return told


def check(room: FunctionRoom, plans: list[Plan], seed: int, workers: int) -> None:
    """In one process, in parallel and through the service: all as the model says."""
    # Of its own, so that no draw ends an example in the middle and leaves messages behind.
    random = Random(seed)
    tasks = [task_of(plan) for plan in plans]
    random.shuffle(tasks)
    with Process(tasks) as process:
        reports = [process.run(), process.run(parallel=True, max_workers=workers)]
    expected = model(plans)
    assert [told_by(report) for report in reports] == [expected, expected]
    workflow = f"graph_{next(_numbers)}"
    room.engine.start("1", room.apply(Workflow(workflow, tasks, batch="{period}")))
    while room.engine.publisher.messages:
        # Messages overtake each other.
        random.shuffle(room.engine.publisher.messages)
        room.engine.deliver_first()
    # The service tells of a skipped task what is to blame when it is asked; its rows have the cause.
    without_blame = {name: Told(one.result, one.error, one.cause) for name, one in expected.items()}
    assert told_by_the_service(room, workflow) == without_blame
    [(batch,)] = room.engine.rows(
        "SELECT status FROM task_batch JOIN workflow USING (workflow_id) WHERE name = :w", w=workflow
    )
    assert batch == ("SUCCESS" if reports[0].ok else "ERROR")


shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@settings(shared, max_examples=40)
@given(plans=graphs(), seed=st.integers(0, 1000), workers=st.integers(1, 4))
def test_any_graph_gives_the_same_report_in_one_process_in_parallel_and_through_the_service(
    here: FunctionRoom, plans: list[Plan], seed: int, workers: int
) -> None:
    check(here, plans, seed, workers)


@pytest.mark.timeout(240)
@settings(shared, max_examples=GRAPHS_IN_CHILDREN, phases=[Phase.generate])
@given(plans=graphs(), seed=st.integers(0, 1000))
def test_any_graph_gives_the_same_report_in_children_of_the_service(
    functions: FunctionRoom, plans: list[Plan], seed: int
) -> None:
    check(functions, plans, seed, 2)
