"""The `when` of a task: what is refused when it is applied, and what it says of values."""

from __future__ import annotations

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from run.errors import ConditionError
from run.workflows.conditions import MOST_SIGNS, Condition
from run.workflows.definition import TriggerRule
from run.workflows.scope import Scope

DOCUMENT = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text(encoding="utf-8")
SCOPE = Scope(
    names={},
    own_file=None,
    batch_names=("region", "period"),
    param_names=("limit", "rate", "name", "tags", "options", "day"),
    needs=("load", "check"),
)
PARAMS: dict[str, Any] = {
    "limit": 5,
    "rate": 2.0,
    "name": "Éa",
    "tags": ["a", "b"],
    "options": {"dry": False, "none": None},
    "day": "2024-03-05T06:00:00Z",
}
RESULTS: dict[str, Any] = {
    "load": {"rows": 5, "share": 0.5, "big": 2**70, "a key": 1, "parts": [{"ok": True, "rows": 2}, {"ok": False}]},
}
NAMES: dict[str, str | date] = {"batch_id": "nl-2024-03", "region": "nl", "period": date(2024, 3, 1)}

TRUE = """
true
results.load.rows > 0
results.load.rows == 5.0
results.load.rows > 4.5
params.rate == 2
params.limit + 1 == 6
params.rate * 2.0 == 4.0
double(params.limit) + 0.5 == 5.5
params.limit / 2 == 2
params.limit % 2 == 1
results.load.share < 1
results.load.big > 1
results["load"].rows == 5
results.load["a key"] == 1
has(results.load)
!has(results.check)
!("check" in results)
"load" in results && results.load.rows > 1
has(results.check) && results.check.bad > 0 || results.load.rows == 5
has(results.load.rows) && !has(results.load.errors)
"dry" in params.options && !params.options.dry
params.options.none == null
params.name.startsWith("É") && params.name.endsWith("a") && params.name.contains("É")
size(params.name) == 2
params.name.matches("^.a$")
params.name + "!" == "Éa!"
"a" in params.tags && !("c" in params.tags)
params.limit in [1, 2, 5]
params.tags == ["a", "b"]
params.tags[0] == "a"
size(params.tags) == 2
params.name != "x" && params.name != 1
results.load.parts.exists(part, part.ok)
results.load.parts.all(part, has(part.ok))
!results.load.parts.all(part, part.ok)
results.load.parts.exists_one(part, part.ok)
results.load.parts.filter(part, part.ok).size() == 1
results.load.parts.map(part, part.ok) == [true, false]
params.tags.map(tag, tag != "a", size(tag)) == [1]
params.tags.map(tag, type(tag) == string) == [true, true]
params.options == {"dry": false, "none": null}
params.limit > 3 ? results.load.rows > 1 : false
timestamp(params.day) > timestamp("2024-03-01T00:00:00Z")
timestamp(params.day) - timestamp("2024-03-05T00:00:00Z") == duration("6h")
timestamp(params.day).getDayOfWeek() == 2
int("12") == 12 && string(params.limit) == "5"
type(params.limit) == int && type(params.rate) == double
batch_id == "nl-2024-03"
region == "nl" && period == "2024-03-01"
params.limit > 99 || results.load.rows > 0   // a comment
true || results.nothing.at > 1
results.nothing.at > 1 || true
""".strip().splitlines()

FALSE = """
false
results.load.rows > 5
results.load.rows < params.limit
"c" in params.tags
has(results.check)
false && results.nothing.at > 1
params.name == "ea"
region != "nl"
""".strip().splitlines()

#: What cannot be said, and why; never false.
UNSAYABLE = {
    "results.check.rows > 0": 'there is no key "check"; has(...) asks',
    "has(results.check.rows)": 'there is no key "check"',
    "results.load.errors == 0": 'there is no key "errors"',
    "params.absent == 1": 'there is no key "absent"',
    "params.options.none.at == 1": "it asks for a key of what is no mapping",
    "params.limit + 1.5 > 2.0": "'+' does not go with (whole number, number with a fraction)",
    "params.name > 1": "'>' does not go with (text, whole number)",
    "params.name + 1 == 2": "'+' does not go with (text, whole number)",
    "params.limit && true": "'&&' takes true and false only",
    "params.limit ? true : false": "what stands before '?' is not true or false",
    "params.limit.size() == 1": "'size' does not go with (whole number)",
    "params.tags[7] == 'a'": "a list of 2 has no element [7]",
    "params.tags[-1] == 'a'": "a list of 2 has no element [-1]",
    "params.limit / 0 == 1": "it divides by zero",
    "9223372036854775807 + params.limit > 0": "integer overflow",
    "int(params.name) == 1": "cannot convert string to int",
    "timestamp(params.name) == timestamp(params.day)": "String to Timestamp conversion failed",
    "params.limit": "must be true or false, and is: whole number",
    "params.name": "must be true or false, and is: text",
    "params.tags": "must be true or false, and is: list",
    "params.options.none": "must be true or false, and is: null",
    "unknown == 1": "'unknown' has no value here",
    "1 +": "cannot be read: sign 4: it ends too early",
}

#: What is refused when a workflow with it is applied; the hint is at the end of the sentence.
REFUSED = {
    "": "sign 1: it ends too early",
    "params.limit >": "sign 15: it ends too early",
    "params.limit = 1": "sign 14: '=' is no operator; write == to compare",
    "params.limit > 1 and true": "sign 18: 'and' is no operator; write &&",
    "params.name == 'a": "sign 16: a text that begins with ' has no end",
    "params.name == “a”": "sign 16: '“' is not expected here",
    "params.limit >\n  1 2": "line 2, sign 5: '2' is not expected here",
    "1": "it must be true or false, and is: whole number",
    "params.limit > 1 ? 'yes' : 'no'": "it must be true or false, and is: text",
    "region > 1": "sign 8: '>' does not go with (text, whole number)",
    "'éé' == params.name && nowhere": "sign 24: there is no 'nowhere' here; known are params, results, batch_id",
    "param.limit > 1": "sign 1: there is no 'param' here; did you mean 'params'?",
    "regoin == 'nl'": "sign 1: there is no 'regoin' here; did you mean 'region'?",
    "params.limt > 1": "sign 1: the workflow has no param 'limt'; did you mean 'limit'?",
    "params['limt'] > 1": "the workflow has no param 'limt'; did you mean 'limit'?",
    "results.laod > 1": "it reads the result of 'laod', which the task does not need; did you mean 'load'?",
    "!has(results.other)": "sign 6: it reads the result of 'other', which the task does not need",
    "'other' in results": "it reads the result of 'other', which the task does not need",
    "size(results) > 1": "sign 6: 'results' cannot be used as a whole; write results.TASK",
    "results[params.name] == 1": "sign 1: 'results' cannot be used as a whole",
    "params.exists(name, name == 'a')": "sign 1: 'params' cannot be used as a whole; write params.NAME",
    "results.load.parts.exists(results, results.ok)": "may not be called 'results'",
    "params.name.upper() == 'A'": "sign 18: there is no function 'upper'",
    "__import__('os') == 1": "there is no function '__import__'",
    "params.name.matches('(')": "sign 21: '(' is no regular expression that RE2 takes: missing ): (",
    "params.name.matches(params.name)": "sign 27: the pattern of matches(...) is written in the condition",
    "matches(params.name, region)": "the pattern of matches(...) is written in the condition",
    "params.tags.map(tag, tag + tag) == []": "sign 26: '+' cannot stand inside exists, exists_one, all, filter and map",
    "params.tags.map(tag, [tag, tag]) == []": "cannot hold their variable, with which it could grow",
    "google.protobuf.Int32Value{value: 1} == 1": "'google.protobuf.Int32Value' cannot be made here",
    f"{'(' * 40}true{')' * 40}": "it is nested too deeply: 32 levels at most",
    f"{'1 + ' * 40}1 == 41": "it is nested too deeply: 32 levels at most",
    "true || " * 200 + "true": "a condition has at most 1,000 signs, this one 1,604",
    "\ud800": "half of a surrogate pair is no text",
}

# What nobody would write: signs of CEL in any order, and any text.
_SIGNS = r"params results load rows limit . , ( ) [ ] { } ? : ! - + * / % < > == != && || in has exists map x 1 2.5 1u"
TOKENS = st.sampled_from([*_SIGNS.split(), '"a"', "'", '"""', "true", "null", "\\", "//", "\n", "é", "\0", "b'a'"])
TEXTS = st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=40).map(" ".join), st.lists(TOKENS).map("".join))
STORABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STORABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STORABLE, inner, max_size=4),
    max_leaves=12,
)


def said(text: str) -> bool:
    return Condition(text).holds(PARAMS, RESULTS, NAMES)


@pytest.mark.parametrize("text", [*TRUE, *FALSE])
def test_a_sound_condition_is_accepted_and_says_what_it_should(text: str) -> None:
    assert list(Condition(text).problems(Scope(**{**vars(SCOPE), "needs": ("load", "check", "nothing")}))) == []
    assert said(text) is (text in TRUE)


@pytest.mark.parametrize("text", UNSAYABLE)
def test_what_cannot_be_said_is_an_error_that_names_the_condition_and_the_reason(text: str) -> None:
    with pytest.raises(ConditionError) as caught:
        said(text)
    assert str(caught.value).startswith(f"the condition `{text}` ")
    assert UNSAYABLE[text] in str(caught.value)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:40]))
def test_a_wrong_condition_is_refused_with_its_place_and_what_would_be_right(text: str) -> None:
    [problem] = Condition(text).problems(SCOPE)
    assert REFUSED[text] in problem


def test_every_unknown_name_is_told() -> None:
    text = "params.limt > 1 && results.laod.rows > 1 && regoin == 'nl'"
    assert [problem.split("; ")[0] for problem in Condition(text).problems(SCOPE)] == [
        "sign 45: there is no 'regoin' here",
        "sign 1: the workflow has no param 'limt'",
        "sign 20: it reads the result of 'laod', which the task does not need",
    ]


@pytest.mark.parametrize("rule", TriggerRule)
def test_results_are_read_only_where_the_rule_waits_for_all_parents(rule: TriggerRule) -> None:
    scope = Scope(**{**vars(SCOPE), "rule": rule})
    starts_early = rule in {TriggerRule.one_success, TriggerRule.one_failed}
    reason = f"sign 1: it reads the result of 'load', for which the rule {rule} does not wait"
    assert list(Condition("results.load.rows > 1").problems(scope)) == ([reason] if starts_early else [])
    assert list(Condition("params.limit > 1").problems(scope)) == []


def test_without_the_workflow_around_it_only_what_is_wrong_anywhere_is_told() -> None:
    assert list(Condition("params.any == results.thing").problems(None)) == []
    assert list(Condition("params.any ==").problems(None)) == ["sign 14: it ends too early"]


def test_it_tells_which_names_and_results_it_reads() -> None:
    text = (
        'has(results.a) && "b" in results && results["c"].rows.exists(x, x > params.d && e == "f") && results.a.g == 1'
    )
    condition = Condition(text)
    assert condition.results_read() == {"a", "b", "c"}
    assert condition.names() == {"params", "results", "e"}
    assert Condition("true").results_read() == Condition("(").results_read() == frozenset()


def test_a_result_of_nothing_is_none() -> None:
    assert Condition("!has(results.load)").holds({}, {"load": None}, {}) is True


def test_only_what_it_reads_is_looked_at() -> None:
    results = {"load": 1, "other": object()}
    assert Condition("results.load == 1").holds({"unused": object()}, results, {}) is True


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["x" * 100] * 10_000, "it reads more than a condition may at all, about 500,000 signs of JSON"),
        (list(range(100_000)), "it reads more than a condition may at all, about 500,000 signs of JSON"),
        (10**400, "a number too large to compare"),
        ({"a\0": 1}, "a text with NUL or half of a surrogate pair"),
        (["\udc00"], "a text with NUL or half of a surrogate pair"),
        ({1, 2}, "holds a set, which is no JSON"),
    ],
    ids=["text", "many", "number", "NUL", "half a pair", "set"],
)
def test_a_value_that_cannot_be_compared_is_an_error(value: Any, reason: str) -> None:
    with pytest.raises(ConditionError, match=reason):
        Condition("results.load == 1").holds({}, {"load": value}, {})


def test_a_value_that_is_nested_without_end_is_an_error() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ConditionError, match="nested more than 64 levels deep"):
        Condition("results.load == 1").holds({}, {"load": value}, {})


@pytest.mark.parametrize(
    "text",
    [
        "params.tags.exists(tag, results.load == tag)",
        "results.load.exists(one, params.tags.exists(tag, tag == one))",
        "results.load.filter(one, one == 2) == [2]",
        "results.load.map(one, one == 2, one) == [2]",
        "[results.load].exists(all, params.tags.exists(tag, params.tags.exists(other, all == tag)))",
    ],
)
def test_what_a_loop_looks_at_in_every_turn_or_makes_a_list_of_is_small(text: str) -> None:
    condition = Condition(text)
    assert condition.holds(PARAMS, {"load": [1] * 1_000}, {}) is False
    with pytest.raises(ConditionError, match="it reads more than a condition may in loops, about 10,000 signs"):
        condition.holds(PARAMS, {"load": [1] * 2_000}, {})
    assert Condition("results.load.exists(one, one == params.limit)").holds(PARAMS, {"load": [1] * 9_999}, {}) is False


def test_loops_in_loops_end_with_an_error() -> None:
    loops = "params.tags.all(a, " * 4 + "true" + ")" * 4
    with pytest.raises(ConditionError, match="it goes through more than 10,000 elements"):
        Condition(loops).holds({"tags": list(range(20))}, {}, {})


def test_ten_thousand_elements_of_a_mapped_task_can_be_looked_at() -> None:
    results = {"load": [{"ok": True}] * 9_999}
    assert Condition("results.load.all(one, one.ok)").holds({}, results, {}) is True


def test_one_condition_is_evaluated_by_many_threads() -> None:
    condition = Condition("results.load.rows % 2 == 0 && params.tags.exists(tag, tag == 'b')")
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda rows: condition.holds(PARAMS, {"load": {"rows": rows}}, {}), range(2_000))
    assert list(answers) == [rows % 2 == 0 for rows in range(2_000)]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_text_does_more_than_be_refused_or_be_an_error(text: str) -> None:
    condition = Condition(text)
    assert all(isinstance(problem, str) for problem in [*condition.problems(None), *condition.problems(SCOPE)])
    with contextlib.suppress(ConditionError):
        assert said(text) in (True, False)


@settings(max_examples=200, deadline=None)
@given(JSON, JSON)
def test_any_values_can_be_compared(one: Any, other: Any) -> None:
    assert Condition("params.one == params.one").holds({"one": one}, {}, {}) is True
    assert Condition("has(results.one)").holds({}, {"one": one}, {}) is (one is not None)
    try:
        assert Condition("results.one == params.other || true").holds({"other": other}, {"one": one}, {}) is True
        assert Condition("params.one < params.other").holds({"one": one, "other": other}, {}, {}) in (True, False)
    except ConditionError:
        assert (
            not isinstance(one, int | float) or not isinstance(other, int | float) or bool in {type(one), type(other)}
        )


def test_the_conditions_of_the_documentation_are_sound_and_say_something() -> None:
    section = DOCUMENT.split("## Conditions", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \|$", section, re.MULTILINE)
    assert len(rows) >= 8
    scope = Scope({}, None, param_names=("min_rows", "report", "countries"), needs=("load_orders", "check"))
    for text, _ in rows:
        condition = Condition(text.replace(r"\|", "|"))
        assert list(condition.problems(scope)) == [], text
        params = {"min_rows": 5, "report": "full", "countries": ["nl"]}
        results = {"load_orders": {"rows": 5, "table": "shop.orders"}, "check": [{"ok": True, "bad": 0}]}
        assert condition.holds(params, results, {"batch_id": "2024-03-05"}) in (True, False)


def test_the_limit_of_the_documentation_is_the_one_that_holds() -> None:
    assert f"{MOST_SIGNS:,} signs" in DOCUMENT
