"""A Process: what runs, with which arguments, what is skipped, and what the report says of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import date
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

from database.statuses import SkipCause
from run.errors import ConditionError, InvalidWorkflow, PassingFailure
from run.workflows import Process, ProcessFailed, ProcessReport, Retry, Skip, Task, TaskDependency
from tests.six_tasks import RESULTS, generate_report, six_tasks

ROOT = Path(__file__).parents[3]
both_ways = pytest.mark.parametrize("parallel", [False, True], ids=["one after another", "parallel"])
both_readings = pytest.mark.parametrize("waits", [False, True], ids=["as in the code", "as in the list"])


class Bench:
    """Makes tasks with one log file, and writes down how their functions were called."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "all.log"
        self.calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.begun: list[str] = []

    def task(
        self,
        name: str,
        does: Callable[..., Any] = lambda *_args, **_kwargs: None,
        after: Sequence[str | TaskDependency] = (),
        **details: Any,
    ) -> Task:
        def function(*args: Any, **kwargs: Any) -> Any:
            self.begun.append(name)
            self.calls[name] = (args, kwargs)
            return does(*args, **kwargs)

        parents = [TaskDependency(one) if isinstance(one, str) else one for one in after]
        return Task(name, self.log, function, dependencies=parents, **details)

    def run(self, *tasks: Task, parallel: bool = False) -> ProcessReport:
        with Process(tasks) as process:
            return process.run(parallel=parallel)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def positional(parent: str) -> TaskDependency:
    return TaskDependency(parent, use_result_as_additional_args=True)


def keyword(parent: str, name: str) -> TaskDependency:
    return TaskDependency(parent, use_result_as_additional_kwargs=True, additional_kwarg_name=name)


def gives(value: Any) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: value


def fails(*_args: Any, **_kwargs: Any) -> None:
    raise ValueError("it went wrong")


@both_ways
@both_readings
def test_the_six_tasks_give_what_was_worked_out_by_hand(tmp_path: Path, *, parallel: bool, waits: bool) -> None:
    with Process(six_tasks(tmp_path, stats_waits_for_validate=waits)) as process:
        report = process.run(parallel=parallel)
    assert report.results == RESULTS
    assert report.ok
    assert (dict(report.errors), dict(report.skipped)) == ({}, {})


@both_ways
def test_all_720_orders_of_creation_give_the_same(tmp_path: Path, *, parallel: bool) -> None:
    tasks = six_tasks(tmp_path)
    orders = list(permutations(tasks))
    assert len(orders) == 720
    for order in orders:
        with Process(order) as process:
            assert process.run(parallel=parallel).results == RESULTS, [task.name for task in order]


@both_readings
def test_validate_and_stats_run_side_by_side_where_only_fetch_is_needed_by_both(tmp_path: Path, *, waits: bool) -> None:
    with Process(six_tasks(tmp_path, stats_waits_for_validate=waits)) as process:
        done = process.run(parallel=True).successes
    order = list(done)
    assert order[0] == "fetch_data"
    assert order[-3:] == ["prepare_storage", "save_data", "generate_report"]
    if waits:
        assert done["calculate_stats"].started_at >= done["validate"].ended_at
    assert done["validate"].started_at >= done["fetch_data"].ended_at
    assert done["prepare_storage"].started_at >= max(done["validate"].ended_at, done["calculate_stats"].ended_at)


@both_ways
def test_independent_tasks_are_in_work_at_the_same_time_only_in_parallel(bench: Bench, *, parallel: bool) -> None:
    meeting = threading.Barrier(2)

    def meet() -> bool:
        try:
            meeting.wait(5 if parallel else 0.05)
        except threading.BrokenBarrierError:
            return False
        return True

    report = bench.run(
        bench.task("first"),
        bench.task("left", meet, ["first"]),
        bench.task("right", meet, ["first"]),
        bench.task("last", after=["left", "right"]),
        parallel=parallel,
    )
    assert (report.results["left"], report.results["right"]) == (parallel, parallel)
    assert (bench.begun[0], bench.begun[-1]) == ("first", "last")


def test_no_more_tasks_are_in_work_than_there_are_workers(bench: Bench) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.01)
        with lock:
            at_work -= 1

    with Process([bench.task(f"t{number}", work) for number in range(12)]) as process:
        process.run(parallel=True, max_workers=3)
    assert most == 3


@both_ways
def test_results_come_in_the_order_of_the_list_and_not_of_completion(bench: Bench, *, parallel: bool) -> None:
    def slow() -> str:
        time.sleep(0.05)
        return "a"

    parents = [bench.task("c", gives("c")), bench.task("b", gives("b")), bench.task("a", slow)]
    after = [positional("a"), positional("b"), positional("c")]
    bench.run(*parents, bench.task("all", after=after), parallel=parallel)
    assert bench.calls["all"] == (("a", "b", "c"), {})


def test_a_result_is_appended_to_the_preset_arguments(bench: Bench) -> None:
    bench.run(bench.task("source", gives("result")), bench.task("task", after=[positional("source")], args=(1, 2)))
    assert bench.calls["task"] == ((1, 2, "result"), {})


def test_a_result_passed_by_keyword_overrides_the_preset_one_which_stays_as_it_was(bench: Bench) -> None:
    preset = {"b": "default"}
    task = bench.task("task", after=[keyword("source", "b")], args=(1,), kwargs=preset)
    bench.run(bench.task("source", gives("result")), task)
    assert bench.calls["task"] == ((1,), {"b": "result"})
    assert preset == {"b": "default"}


def test_a_dependency_that_passes_nothing_only_keeps_the_order(bench: Bench) -> None:
    bench.run(bench.task("later", after=["sooner"], args=(1,)), bench.task("sooner", gives("unseen")))
    assert bench.calls["later"] == ((1,), {})
    assert bench.begun == ["sooner", "later"]


def test_one_dependency_may_pass_its_result_both_ways(bench: Bench) -> None:
    one = TaskDependency(
        "source", use_result_as_additional_args=True, use_result_as_additional_kwargs=True, additional_kwarg_name="x"
    )
    bench.run(bench.task("source", gives([1])), bench.task("task", after=[one]))
    assert bench.calls["task"] == (([1],), {"x": [1]})


@both_ways
def test_what_one_child_does_to_a_result_no_other_sees_nor_the_report(bench: Bench, *, parallel: bool) -> None:
    def spoil(rows: list[Any]) -> list[Any]:
        rows.append("spoilt")
        rows[0]["n"] = 0
        return rows

    source = bench.task("source", gives([{"n": 1}]))
    children = [bench.task(f"child{number}", spoil, [positional("source")]) for number in range(8)]
    report = bench.run(source, *children, parallel=parallel)
    assert report.results["source"] == [{"n": 1}]
    assert [report.results[child.name] for child in children] == [[{"n": 0}, "spoilt"]] * 8


def test_a_result_that_its_function_changes_later_stays_as_it_was_returned(bench: Bench) -> None:
    kept: list[int] = [1]

    def change() -> None:
        kept.append(2)

    report = bench.run(
        bench.task("source", lambda: kept),
        bench.task("changes", change, ["source"]),
        bench.task("reads", lambda rows: rows, [positional("source"), "changes"]),
    )
    assert report.results["reads"] == [1]


def test_a_parameter_that_nothing_is_passed_for_keeps_its_default(bench: Bench) -> None:
    report = bench.run(Task("report", bench.log, generate_report, args=("saved",)))
    assert report.results["report"] == "saved; 0 people, 0 to 0 years old, earn 0 on average"


def test_a_result_that_is_no_json_is_an_error_that_names_the_task_and_the_type(bench: Bench) -> None:
    report = bench.run(bench.task("when", gives({"day": date(2024, 3, 1)})), bench.task("child", after=["when"]))
    [error] = report.errors.values()
    assert str(error) == (
        "NotJson: the result of task 'when'['day'] is no JSON: it is of the type datetime.date; "
        "JSON has texts, numbers, True, False, None, lists and mappings"
    )
    assert list(report.skipped) == ["child"]


@both_ways
def test_a_failure_skips_what_depends_on_it_and_nothing_else(bench: Bench, *, parallel: bool) -> None:
    report = bench.run(
        bench.task("root"),
        bench.task("bad", fails, ["root"]),
        bench.task("kid", after=["bad"]),
        bench.task("grandkid", after=["kid", "good"]),
        bench.task("good", gives("fine"), ["root"]),
        bench.task("goodkid", after=["good"]),
        parallel=parallel,
    )
    assert set(report.successes) == {"root", "good", "goodkid"}
    assert list(report.errors) == ["bad"]
    assert {name: (one.cause, one.because_of) for name, one in report.skipped.items()} == {
        "kid": ("upstream_failed", ("bad",)),
        "grandkid": ("upstream_failed", ("bad",)),
    }
    assert not {"kid", "grandkid"} & set(bench.begun)


@both_ways
def test_a_failure_that_leaves_only_what_cannot_run_ends_the_process(bench: Bench, *, parallel: bool) -> None:
    chain = [bench.task("a", fails), bench.task("b", after=["a"]), bench.task("c", after=["b"])]
    report = bench.run(*chain, parallel=parallel)
    assert (list(report.errors), list(report.skipped)) == (["a"], ["b", "c"])


@both_ways
def test_all_failures_above_a_skipped_task_are_to_blame_whichever_came_first(bench: Bench, *, parallel: bool) -> None:
    def late(*_args: Any) -> None:
        time.sleep(0.02)
        raise RuntimeError

    report = bench.run(
        bench.task("child", after=["late", "early"]),
        bench.task("late", late),
        bench.task("early", fails),
        parallel=parallel,
    )
    assert set(report.skipped["child"].because_of) == {"late", "early"}
    assert report.skipped["child"].reason == f"{', '.join(report.errors)} failed"


@both_ways
def test_the_rule_of_a_task_decides_as_in_the_service(bench: Bench, *, parallel: bool) -> None:
    rules = ("all_done", "one_success", "one_failed", "none_failed", "none_failed_min_one_success", "all_failed")
    report = bench.run(
        bench.task("ok"),
        bench.task("bad", fails),
        *[bench.task(f"mixed_{rule}", after=["ok", "bad"], rule=rule) for rule in rules],
        *[bench.task(f"ok_{rule}", after=["ok"], rule=rule) for rule in rules],
        parallel=parallel,
    )
    ran = {name for name in report.successes if name != "ok"}
    assert ran == {
        "mixed_all_done", "mixed_one_success", "mixed_one_failed",
        "ok_all_done", "ok_one_success", "ok_none_failed", "ok_none_failed_min_one_success",
    }  # fmt: skip
    assert {name: (one.cause, one.because_of) for name, one in report.skipped.items()} == {
        "mixed_none_failed": ("upstream_failed", ("bad",)),
        "mixed_none_failed_min_one_success": ("upstream_failed", ("bad",)),
        "mixed_all_failed": ("rule", ("ok",)),
        "ok_one_failed": ("rule", ("ok",)),
        "ok_all_failed": ("rule", ("ok",)),
    }
    assert {one.cause for one in report.skipped.values()} <= set(SkipCause)


def test_a_clean_up_gets_none_for_a_parent_that_failed(bench: Bench) -> None:
    parents = [bench.task("ok", gives(1)), bench.task("bad", fails)]
    after = [positional("bad"), positional("ok"), keyword("bad", "x")]
    bench.run(*parents, bench.task("clean", after=after, rule="all_done", kwargs={"x": "default"}))
    assert bench.calls["clean"] == ((None, 1), {"x": "default"})


def test_a_function_may_skip_its_task_and_what_needs_its_success(bench: Bench) -> None:
    def nothing_to_do() -> None:
        raise Skip("no file today")

    report = bench.run(
        bench.task("source", nothing_to_do),
        bench.task("child", after=["source"]),
        bench.task("anyway", after=["source"], rule="none_failed"),
    )
    assert report.ok
    assert list(report.successes) == ["anyway"]
    said = {name: (one.cause, one.because_of, one.reason) for name, one in report.skipped.items()}
    assert said == {
        "source": ("raised", (), "no file today"),
        "child": ("rule", ("source",), "its rule all_success can no longer be met"),
    }


def test_a_process_has_no_second_try(bench: Bench) -> None:
    def later() -> None:
        raise Retry("the bank is closed", after=60)

    assert str(bench.run(bench.task("pay", later)).errors["pay"]) == "Retry: the bank is closed"


@both_ways
def test_the_exit_of_a_task_is_an_error_of_that_task(bench: Bench, *, parallel: bool) -> None:
    report = bench.run(
        bench.task("exits", lambda: sys.exit(3)), bench.task("child", after=["exits"]), bench.task("other"),
        parallel=parallel,
    )  # fmt: skip
    assert isinstance(report.errors["exits"].exception, SystemExit)
    assert str(report.errors["exits"]) == "SystemExit: 3"
    assert (list(report.successes), list(report.skipped)) == (["other"], ["child"])


@both_ways
def test_an_interrupt_in_a_task_ends_the_run(bench: Bench, *, parallel: bool) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    tasks = [bench.task("stops", interrupt), bench.task("later", after=["stops"], rule="all_done")]
    with pytest.raises(KeyboardInterrupt):
        bench.run(*tasks, parallel=parallel)
    assert bench.begun == ["stops"]


INTERRUPTED = """
import os, pathlib, signal, sys, time
from run.workflows import Process, Task

folder, parallel = pathlib.Path(sys.argv[1]), sys.argv[2] == "True"

def say(text):
    # Not through a buffer: the signal may come in the middle of that.
    os.write(1, (text + "\\n").encode())

def work():
    say("at work")
    while not (folder / "may_end").exists():
        time.sleep(0.01)

def interrupted(*_):
    say("interrupted")
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupted)
with Process([Task(f"t{number}", folder / "log", work) for number in range(9)]) as process:
    process.run(parallel=parallel, max_workers=2)
"""


@both_ways
def test_ctrl_c_ends_the_run_without_beginning_anything_new(tmp_path: Path, *, parallel: bool) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(parallel)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            begun = [process.stdout.readline() for _ in range(2 if parallel else 1)]
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            # Between the signal and the moment from which nothing begins are some microseconds.
            time.sleep(0.3)
            (tmp_path / "may_end").touch()
            rest, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in errors
    assert (set(begun), rest) == ({"at work\n"}, "")


def test_a_signal_that_does_not_wake_the_waiting_run_is_noticed_all_the_same(bench: Bench) -> None:
    noticed = threading.Event()

    def feel() -> bool:
        # The system tells this thread, and only the main one, which waits for the task, may handle it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return noticed.wait(20)

    before = signal.signal(signal.SIGUSR1, lambda *_: noticed.set())
    try:
        report = bench.run(bench.task("feels", feel), parallel=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert report.successes["feels"].result is True


@both_ways
def test_what_the_caller_has_set_for_its_context_holds_in_the_tasks(bench: Bench, *, parallel: bool) -> None:
    where = ContextVar("where", default="nowhere")
    token = where.set("in the batch 2024-03")
    try:
        report = bench.run(bench.task("a", where.get), bench.task("b", where.get, ["a"]), parallel=parallel)
    finally:
        where.reset(token)
    assert set(report.results.values()) == {"in the batch 2024-03"}


@both_ways
def test_a_process_may_be_run_again(bench: Bench, *, parallel: bool) -> None:
    counts = {"a": 0, "b": 0}

    def count(name: str, given: list[int]) -> int:
        given.append(1)
        counts[name] += 1
        if counts["a"] == 2:
            raise ValueError("only the second time")
        return len(given)

    tasks = [
        Task("a", bench.log, count, args=("a", [])),
        Task("b", bench.log, count, args=("b", []), dependencies=[TaskDependency("a")]),
    ]
    with Process(tasks) as process:
        first, second, third = (process.run(parallel=parallel) for _ in range(3))
    assert first.results == third.results == {"a": 1, "b": 1}
    assert (list(second.errors), list(second.skipped)) == (["a"], ["b"])
    assert counts == {"a": 3, "b": 2}
    assert first.ended_at <= second.started_at <= second.ended_at <= third.started_at


def test_a_process_may_be_run_one_way_and_then_the_other(tmp_path: Path) -> None:
    with Process(six_tasks(tmp_path)) as process:
        assert (
            process.run(parallel=True).results == process.run().results == process.run(parallel=True).results == RESULTS
        )
    assert process.run().results == RESULTS


def test_a_process_of_no_tasks_has_nothing_to_report() -> None:
    report = Process([]).run(parallel=True)
    assert (report.results, report.ok) == ({}, True)


def test_a_chain_of_thousands_is_no_recursion(bench: Bench) -> None:
    names = [f"t{number}" for number in range(3000)]
    chain = [bench.task(name, after=[before]) for before, name in pairwise(names)]
    assert len(bench.run(*chain, bench.task("t0")).successes) == 3000
    assert len(bench.run(*chain, bench.task("t0", fails), parallel=True).skipped) == 2999


def test_the_traceback_begins_at_the_function_of_the_task(bench: Bench) -> None:
    error = bench.run(Task("bad", bench.log, fails)).errors["bad"]
    lines = error.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'File "{__file__}"' in lines[1]
    assert lines[1].endswith("in fails")
    assert lines[-1] == "ValueError: it went wrong"


def test_wrong_arguments_are_an_error_of_the_task(bench: Bench) -> None:
    report = bench.run(Task("task", bench.log, generate_report, kwargs={"colour": "red"}))
    assert "unexpected keyword argument 'colour'" in report.errors["task"].message


def test_an_exception_that_cannot_be_shown_is_still_an_error(bench: Bench) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def odd() -> None:
        raise Odd

    report = bench.run(bench.task("odd", odd))
    assert str(report.errors["odd"]) == "Odd: (its message cannot be shown)"
    assert json.loads(report.to_json())["errors"]["odd"]["type"] == "Odd"


def test_the_report_says_all_of_it_as_json(bench: Bench) -> None:
    report = bench.run(bench.task("good", gives([1])), bench.task("bad", fails), bench.task("kid", after=["bad"]))
    told = json.loads(report.to_json())
    assert told == report.to_dict()
    assert told["ok"] is False
    assert told["successes"]["good"]["result"] == [1]
    assert told["successes"]["good"]["started_at"] == report.successes["good"].started_at.isoformat()
    error = told["errors"]["bad"]
    assert (error["type"], error["message"]) == ("ValueError", "it went wrong")
    assert error["traceback"].endswith("ValueError: it went wrong\n")
    assert told["skipped"] == {"kid": {"cause": "upstream_failed", "because_of": ["bad"], "reason": "bad failed"}}
    assert told["started_at"] <= error["started_at"] <= error["ended_at"] <= told["ended_at"]


def test_a_failed_process_can_fail_the_task_that_runs_it(bench: Bench) -> None:
    inner = [bench.task("good"), bench.task("bad", fails), bench.task("kid", after=["bad"])]

    def pipeline(tasks: Sequence[Task]) -> Any:
        with Process(tasks) as process:
            report = process.run(parallel=True)
        report.raise_if_failed()
        return report.to_dict()

    report = bench.run(
        bench.task("sound", lambda: pipeline(inner[:1])),
        bench.task("broken", lambda: pipeline(inner)),
        parallel=True,
    )
    assert list(report.results["sound"]["successes"]) == ["good"]
    error = report.errors["broken"].exception
    assert isinstance(error, ProcessFailed)
    assert isinstance(error, PassingFailure)
    assert str(error) == "failed: bad (ValueError: it went wrong); not executed: kid"
    assert isinstance(error.__cause__, ValueError)
    assert list(error.details["skipped"]) == ["kid"]


@both_ways
def test_a_condition_chooses_a_branch_and_the_join_goes_on(bench: Bench, parallel: bool) -> None:
    tasks = [
        bench.task("load", lambda: {"rows": 7}),
        bench.task("rebuild", after=["load"], when="results.load.rows > params.limit"),
        bench.task("append", after=["load"], when="results.load.rows <= params.limit"),
        bench.task("below_append", after=["append"]),
        bench.task("publish", after=["rebuild", "append"], rule="none_failed_min_one_success"),
    ]
    with Process(tasks, params={"limit": 5}) as process:
        report = process.run(parallel=parallel)
    assert list(report.successes) == ["load", "rebuild", "publish"]
    assert {name: (one.cause, one.reason) for name, one in report.skipped.items()} == {
        "append": ("branch", "its condition is false: results.load.rows <= params.limit"),
        "below_append": ("rule", "its rule all_success can no longer be met"),
    }
    assert {one.cause for one in report.skipped.values()} <= {cause.value for cause in SkipCause}
    assert "append" not in bench.begun
    assert "Skipped append: its condition is false" in bench.log.read_text(encoding="utf-8")


@both_ways
def test_a_condition_that_cannot_be_evaluated_is_an_error_of_its_task(bench: Bench, parallel: bool) -> None:
    load = bench.task("load", lambda: {"rows": 7})
    asks = bench.task("asks", after=["load"], when="results.load.lines > 1")
    report = bench.run(load, asks, bench.task("below", after=["asks"]), parallel=parallel)
    assert bench.begun == ["load"]
    assert isinstance(report.errors["asks"].exception, ConditionError)
    assert "cannot be evaluated: there is no key" in str(report.errors["asks"])
    assert report.skipped["below"].because_of == ("asks",)


def test_a_skipped_parent_and_one_that_returns_nothing_have_no_result(bench: Bench) -> None:
    report = bench.run(
        bench.task("nothing"),
        bench.task("skipped", lambda: 1, when="false"),
        bench.task(
            "asks",
            after=["nothing", "skipped"],
            rule="all_done",
            when="!has(results.nothing) && !has(results.skipped)",
        ),
    )
    assert list(report.successes) == ["nothing", "asks"]


def test_a_wrong_condition_is_refused_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(InvalidWorkflow, match="task 'a': 'when': sign 4: it ends too early"):
        bench.task("a", when="1 +")
    with pytest.raises(TypeError, match="when is a condition as a text"):
        bench.task("a", when=True)
    with pytest.raises(InvalidWorkflow, match="'when' is no option"):
        bench.task("a", options={"when": "true"})
    with pytest.raises(InvalidWorkflow) as caught:
        Process(
            [
                bench.task("a", when="params.limt > 1"),
                bench.task("b", when='batch_id == "x"'),
                bench.task("c", when="results.a == 1"),
            ],
            params={"limit": 5},
        )
    assert str(caught.value).splitlines() == [
        "task 'a': 'when': sign 1: the workflow has no param 'limt'; did you mean 'limit'?",
        "task 'b': 'when': a process has no batch, and so no batch_id",
        "task 'c': 'when': sign 1: it reads the result of 'a', which the task does not need",
    ]
