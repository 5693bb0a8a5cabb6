"""A function is called with what its task says, in a process of its own, and how it ends is how the attempt ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from database.sessions import Database
from run.errors import InvalidWorkflow
from run.kinds.python_function import LONGEST_OUTPUT
from tests.engine_room import ME
from tests.function_room import FunctionRoom

HERE = "tests.integration.functions.functions"


def flow(first: str, second: str, **keys: str) -> str:
    """Two tasks in a line; the functions, and more keys of the second one as YAML."""
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"""
        workflow: two
        batch: "{{period}}"
        params: {{currency: EUR, most: 5}}
        tasks:
          first: {{kind: python_function, function: "{HERE}:{first}", args: [4]}}
          second: {{kind: python_function, function: "{HERE}:{second}", needs: [first]{more}}}
    """


def test_a_function_gets_its_arguments_and_what_it_returns_is_the_result(functions: FunctionRoom) -> None:
    status, error, details, result = functions.one("echo", args=[1, None, [2.5, {"a": "b"}]], kwargs={"x": True})
    assert (status, error) == ("SUCCESS", None)
    assert result == {"args": [1, None, [2.5, {"a": "b"}]], "kwargs": {"x": True}}
    assert details["function"] == f"{HERE}:echo"
    assert details["arguments"] == {"args[0]": "1", "args[1]": "None", "args[2]": "[2.5, {'a': 'b'}]", "x": "True"}
    assert details["peak_mib"] > 0


def test_texts_of_the_arguments_are_templates(functions: FunctionRoom) -> None:
    text = flow("number", "echo", args='["{batch_id} in {currency}", ["{most}", 5], "{results.first}", "{other}"]')
    key = functions.run(text.replace("needs: [first]", 'needs: [first], kwargs: {where: {deep: "{task}"}}'))
    assert functions.results(key)["second"] == {
        "args": ["2024-03 in EUR", ["5", 5], "4", "{other}"],
        "kwargs": {"where": {"deep": "second"}},
    }


def test_results_are_appended_and_override_keywords(functions: FunctionRoom) -> None:
    keys = {"args": "[1]", "kwargs": "{stats: none, other: 2}"}
    passing = {"results_as_args": "[first]", "results_as_kwargs": "{stats: first}"}
    key = functions.run(flow("echo", "echo", **keys, **passing))
    first = {"args": [4], "kwargs": {}}
    assert functions.results(key)["second"] == {"args": [1, first], "kwargs": {"stats": first, "other": 2}}


def test_an_element_gets_its_item_as_it_is_and_the_results_come_together_in_order(functions: FunctionRoom) -> None:
    key = functions.run(f"""
        workflow: mapped
        batch: "{{period}}"
        tasks:
          list: {{kind: python_function, function: "{HERE}:days"}}
          each:
            kind: python_function
            function: {HERE}:echo
            needs: [list]
            map: list
            item_as: item
            args: ["{{element}} of {{batch_id}}"]
          joined: {{kind: python_function, function: "{HERE}:total", needs: [each], results_as_args: [each]}}
    """)
    items = [{"day": "2024-03-01", "shops": [1, 2]}, "second", 3, None]
    batch = key.batch_id
    each = [{"args": [f"{number} of {batch}"], "kwargs": {"item": item}} for number, item in enumerate(items)]
    assert functions.results(key)["joined"] == {"values": each, "count": 4}


def test_what_a_function_changes_reaches_nobody_else(functions: FunctionRoom) -> None:
    changes = f"""
            kind: python_function
            function: {HERE}:change_everything
            args: [{{preset: [1]}}]
            needs: [rows]
            results_as_args: [rows]
            results_as_kwargs: {{again: rows}}
    """
    key = functions.run(f"""
        workflow: shared
        batch: "{{period}}"
        tasks:
          rows: {{kind: python_function, function: "{HERE}:echo", args: [7]}}
          one: {changes}
          two: {changes}
    """)
    functions.engine.moves.rerun_task(functions.engine.task("one", workflow="shared"), ME)
    functions.engine.deliver_all()
    rows = {"args": [7], "kwargs": {}}
    expected = {"seen": [{"preset": [1]}, rows, rows], "calls": 1}
    assert functions.results(key) == {"rows": rows, "one": expected, "two": expected}


@pytest.mark.parametrize("name", ["number", "nothing"])
def test_any_json_is_a_result(functions: FunctionRoom, name: str) -> None:
    assert functions.one(name)[::3] == ("SUCCESS", 3 if name == "number" else None)


def test_a_parent_without_a_result_is_none_or_leaves_the_preset(functions: FunctionRoom) -> None:
    keys = {"rule": "all_done", "results_as_args": "[first]", "results_as_kwargs": "{stats: first}"}
    key = functions.run(flow("fail_inside", "echo", kwargs="{stats: preset}", **keys).replace(", args: [4]", ""))
    assert functions.results(key) == {"second": {"args": [None], "kwargs": {"stats": "preset"}}}


def test_what_a_function_prints_and_logs_is_kept_in_its_order(functions: FunctionRoom) -> None:
    _, _, details, _ = functions.one("speak")
    printed, warned, logged, below = details["output"].splitlines()
    assert (printed, warned, below) == ("printed", "warned", "below")
    assert logged.endswith("INFO shop: logged 7")


def test_only_the_end_of_much_output_is_kept(functions: FunctionRoom) -> None:
    _, _, details, _ = functions.one("speak_much", args=[50_000])
    output = details["output"]
    assert len(output) == LONGEST_OUTPUT
    assert output.endswith("line 49998 of many\nline 49999 of many\n")


def test_an_exception_is_the_error_with_the_functions_own_frames(functions: FunctionRoom) -> None:
    status, error, details, _ = functions.one("fail_inside")
    assert status == "ERROR"
    assert error is not None
    assert error.endswith("RuntimeError: no sugar")
    assert "KeyError: 'sugar'" in error
    assert "in fail_inside" in error
    assert "in _deeper" in error
    assert "function_call.py" not in error
    assert details["raised"] == {"type": "RuntimeError", "details": {}}


@pytest.mark.parametrize(
    ("function", "keys", "error"),
    [
        ("leave", {"args": [3]}, "SystemExit: 3"),
        ("leave", {"args": [0]}, "SystemExit: 0"),
        ("leave", {"args": ["no sugar"]}, "SystemExit: no sugar"),
        ("interrupt", {}, "KeyboardInterrupt"),
    ],
)
def test_a_function_that_ends_the_interpreter_is_an_error_of_its_task(
    functions: FunctionRoom, function: str, keys: dict[str, Any], error: str
) -> None:
    status, told, _, _ = functions.one(function, **keys)
    assert status == "ERROR"
    assert told is not None
    assert told.splitlines()[-1] == error


def test_what_is_no_json_is_an_error_that_says_where_and_is_not_retried(functions: FunctionRoom) -> None:
    status, error, _, _ = functions.one("no_json", retries=3)
    assert (status, len(functions.engine.log("it"))) == ("ERROR", 1)
    assert error is not None
    assert "the result of task 'it'['when'] is no JSON: it is of the type set" in error


def test_arguments_that_do_not_fit_are_an_error_that_is_not_retried(functions: FunctionRoom) -> None:
    status, error, _, _ = functions.one("needs_two", args=[1], retries=3)
    assert (status, len(functions.engine.log("it"))) == ("ERROR", 1)
    assert error == "TypeError: needs_two() missing 1 required positional argument: 'two'"
    assert functions.engine.batch_status() == "ERROR"


def test_a_skip_has_its_reason_and_its_output(functions: FunctionRoom) -> None:
    key = functions.run(flow("skip", "number").replace(", args: [4]", ""))
    status, error, details, _ = functions.attempt("first")
    assert (status, error, details["skipped"]) == ("SKIPPED", None, "no file today")
    assert details["output"] == "looked everywhere\n"
    assert functions.engine.statuses(key.batch_id, "two") == {"first": "SKIPPED:raised", "second": "SKIPPED:rule"}


def test_an_exception_is_retried_as_often_as_the_task_says(functions: FunctionRoom, tmp_path: Path) -> None:
    functions.one("fail_until", args=[str(tmp_path / "marks"), 3], retries=2)
    for _ in range(2):
        functions.engine.pass_time(10_000)
        functions.engine.sweep()
        functions.engine.deliver_all()
    assert [status for _, status, _ in functions.engine.log("it")] == ["ERROR", "ERROR", "SUCCESS"]
    assert functions.attempt("it")[3] == 3


@pytest.mark.parametrize(
    ("function", "keys", "least", "most"),
    [
        ("retry", {"args": [77]}, 57, 77),
        ("retry_of_another_type", {}, 13, 33),
        ("fail_for_now", {}, 22, 42),
        # As without a word of it: any part of the first pause.
        ("fail_until_who_knows_when", {}, -20, 30),
    ],
)
def test_a_function_says_when_it_wants_to_be_tried_again(
    functions: FunctionRoom, function: str, keys: dict[str, Any], least: int, most: int
) -> None:
    status, error, _, _ = functions.one(function, retries=1, **keys)
    assert status == "ERROR"
    assert error is not None
    assert error.endswith("the bank is closed" if function.startswith("retry") else "busy")
    [(until,)] = functions.engine.rows("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM batch_task")
    assert least < until <= most


def test_a_retry_without_retries_is_an_error(functions: FunctionRoom) -> None:
    assert functions.one("retry")[:2] == ("ERROR", "the bank is closed")
    assert functions.engine.batch_status() == "ERROR"


def test_a_function_may_say_that_trying_again_cannot_help(functions: FunctionRoom) -> None:
    status, _, details, _ = functions.one("fail_for_good", retries=3)
    assert (status, len(functions.engine.log("it"))) == ("ERROR", 1)
    assert details["raised"] == {"type": "PermanentFailure", "details": {"shop": 7}}


def test_a_secret_is_an_argument_and_is_shown_nowhere(database: Database) -> None:
    secret = "squirrel-of-the-functions"
    functions = FunctionRoom(database, secrets={"BANK": secret})
    status, error, details, _ = functions.one("speak_and_fail", kwargs={"secret": {"secret": "BANK"}})
    assert status == "ERROR"
    assert error is not None
    assert error.endswith("ValueError: ran out of sugar: [hidden]")
    assert details["output"] == "the secret is [hidden]\n"
    assert details["arguments"] == {"secret": "[hidden]"}
    assert secret not in str(functions.engine.rows("SELECT * FROM task_log, batch_task, task_version"))


def test_a_secret_is_passed_as_it_is_and_is_in_no_result(database: Database) -> None:
    secret = "hedgehog-of-the-functions"
    functions = FunctionRoom(database, secrets={"BANK": secret})
    keys = {"args": [len(secret)], "kwargs": {"text": {"secret": "BANK"}}}
    assert functions.one("is_as_long", **keys)[3] == {"is_as_long": True, "text": "[hidden]"}


def test_a_function_finds_nothing_of_ours_around_it(functions: FunctionRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush@host/db")
    _, _, _, found = functions.one("surroundings")
    assert set(found["environment"]) <= {"LC_CTYPE", "TMPDIR"}
    assert found["temporary"].startswith(found["folder"])
    assert not Path(found["folder"]).exists()
    assert found["is_leader"]


def test_a_process_that_dies_is_an_error_with_its_last_words(functions: FunctionRoom) -> None:
    for how, words in (
        ("exit", "the child process ended with exit status 0 without a result"),
        ("SIGSEGV", "the child process died of SIGSEGV without a result"),
        ("SIGKILL", "the child process was killed, by itself or from outside; the machine may have no memory left"),
    ):
        status, error, details, _ = functions.one("die", args=[how])
        assert (status, error, details["output"]) == ("ERROR", words, "my last words\n")
        functions.engine.change("TRUNCATE workflow CASCADE")


def test_more_memory_than_allowed_is_an_error_with_what_was_said(functions: FunctionRoom) -> None:
    status, error, details, _ = functions.one("swell", memory_mib=128, retries=3)
    assert (status, error, details["output"]) == ("ERROR", "killed: used more than 128 MiB", "getting bigger\n")
    assert len(functions.engine.log("it")) == 1


def test_a_process_of_functions_is_one_task(functions: FunctionRoom) -> None:
    status, _, _, result = functions.one("pipeline")
    assert status == "SUCCESS"
    assert {name: one["result"] for name, one in result["successes"].items()} == {
        "fetch": 3,
        "double": 6,
        "other": None,
    }


@pytest.mark.parametrize(("function", "keys"), [("pipeline", {"args": [True]}), ("pipeline_that_raises", {})])
def test_a_process_with_a_failure_is_an_error_that_keeps_the_report(
    functions: FunctionRoom, function: str, keys: dict[str, Any]
) -> None:
    status, error, details, _ = functions.one(function, **keys)
    assert status == "ERROR"
    assert error is not None
    assert error.endswith("ProcessFailed: failed: fetch (SystemExit: 3); not executed: double")
    report = details["raised"]["details"]
    assert (list(report["successes"]), report["skipped"]["double"]["because_of"]) == (["other"], ["fetch"])


def test_a_result_beyond_all_bounds_ends_the_attempt_with_what_to_do(functions: FunctionRoom) -> None:
    status, error, _, _ = functions.one("large", args=[64 * 1024 * 1024])
    assert status == "ERROR"
    assert error is not None
    assert "67,108,866 bytes of JSON, and 67,108,864 are the most" in error


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        ("", "the setting FUNCTION_MODULES must name it, and is empty"),
        ("tests.unit, acme", "the setting FUNCTION_MODULES must name it, and has only tests.unit, acme"),
        (
            "tests.integration.functions.func",
            "the setting FUNCTION_MODULES must name it, and has only tests.integration.functions.func",
        ),
    ],
)
def test_a_module_that_the_settings_do_not_allow_is_refused_when_it_is_applied_and_when_it_would_be_called(
    database: Database, allowed: str, words: str
) -> None:
    # Applied where the settings allow more.
    FunctionRoom(database).apply(flow("number", "number"))
    functions = FunctionRoom(database, allowed=allowed)
    with pytest.raises(InvalidWorkflow) as refused:
        functions.definition(flow("number", "number"))
    assert str(refused.value).splitlines() == [
        f"task '{task}': 'function': the module '{HERE}' may not be called: {words}" for task in ("first", "second")
    ]
    functions.engine.start(workflow="two")
    functions.engine.deliver_all()
    status, error, _, _ = functions.attempt("first")
    assert (status, error) == ("ERROR", f"the module '{HERE}' may not be called: {words}")


def test_what_an_allowed_module_only_imports_is_refused_when_it_is_applied_and_when_it_would_be_called(
    database: Database,
) -> None:
    FunctionRoom(database, allowed="tests copy").apply(flow("deepcopy", "deepcopy"))
    functions = FunctionRoom(database)
    words = (
        f"the module {HERE} only has it from 'copy', which FUNCTION_MODULES does not name; "
        "write a function of its own that calls it"
    )
    with pytest.raises(InvalidWorkflow, match=words):
        functions.definition(flow("deepcopy", "deepcopy"))
    functions.engine.start(workflow="two")
    functions.engine.deliver_all()
    assert functions.attempt("first")[:2] == ("ERROR", words)


@pytest.mark.parametrize("allowed", [HERE, "tests", "acme tests.integration", "tests.integration.functions,acme"])
def test_a_package_allows_everything_below_it(database: Database, allowed: str) -> None:
    assert FunctionRoom(database, allowed=allowed).one("number")[0] == "SUCCESS"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("function: tests.nowhere:run", "'function': there is no module 'tests.nowhere' here"),
        (f"function: {HERE}:numbr", f"'function': the module {HERE} has no function 'numbr'; did you mean 'number'?"),
        (f"function: {HERE}:number, timeout: 10m", "a function has 570s at most, because one request waits for it"),
        (f"function: {HERE}:number, memory_mib: 1", "'memory_mib' must be greater than or equal to 64, not 1"),
        (f"function: {HERE}:number, args: ['{{batchid}}']", "'args': '{batchid}' is not a known name"),
        (f"function: {HERE}:number, item_as: value", "'item_as': the task has no item, because it is not mapped"),
        (f"function: {HERE}:number, kwargs: {{no-name: 1}}", "'kwargs': 'no-name' is no name of a parameter"),
        (
            f"function: {HERE}:number, kwargs: {{a: {{secret: ''}}}}",
            "'kwargs': a: must be the name of a secret: a letter",
        ),
        (f"function: {HERE}:number, kwargs: {{a: [{{secret: B}}]}}", "'kwargs': a: a secret is a whole keyword"),
        (f"function: {HERE}:number, args: [{{secret: B}}]", "'args': a secret is a whole keyword argument"),
        (f"function: {HERE}:number, results_as_args: [other]", "which the task does not need"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_applied(functions: FunctionRoom, keys: str, words: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        functions.definition(f"{{workflow: w, tasks: {{one: {{kind: python_function, {keys}}}}}}}")
    [problem] = str(refused.value).splitlines()
    assert words in problem


def test_what_is_no_function_is_an_error(functions: FunctionRoom) -> None:
    status, error, _, _ = functions.one("NOT_CALLABLE")
    assert (status, error) == (
        "ERROR",
        f"run.errors.PermanentFailure: the module {HERE} has no function 'NOT_CALLABLE'",
    )
