from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.batch_identity import DEFAULT_BATCH, LONGEST_BATCH_ID, BatchTemplate
from run.workflows.templates import NameType, TemplateError, Value

TEMPLATES = st.sampled_from(
    ["{a}", "{a}-{b}", "{a}/{d:%Y-%m}", "{d:%Y}/{a}/{d:%m}", "{d:%G-W%V}{b}", "{a}{d:%Y%m%d}", "x{d:%b %Y}.{a}.{a}"]
)
# Few letters, so that values often contain the texts between names.
TEXTS = st.text(alphabet="ab-/.2024", max_size=8)


def test_the_default_opens_a_batch_for_every_trigger_of_a_day() -> None:
    template = BatchTemplate(DEFAULT_BATCH)
    values: dict[str, Value] = {"today": date(2024, 3, 16), "number": "001"}
    assert template.is_fresh
    assert template.render(values) == "Batch_20240316_001"
    assert template.values_of("Batch_20240316_001") == values
    assert template.values_of("Batch_20240316_1000") == values | {"number": "1000"}
    assert template.values_of("Batch_20240316_01") is None
    assert template.values_of("Batch_20240231_001") is None


def test_a_day_is_normalised_to_what_the_id_says() -> None:
    template = BatchTemplate("{period:%Y-%m}")
    batch_id = template.render({"period": date(2024, 3, 5), "unused": "x"})
    assert batch_id == "2024-03"
    assert template.values_of(batch_id) == {"period": date(2024, 3, 1)}
    assert not template.is_fresh


def test_a_name_used_twice_is_one_value() -> None:
    assert BatchTemplate("{d:%Y}/{d:%m}").values_of("2024/03") == {"d": date(2024, 3, 1)}
    assert BatchTemplate("{a}/{a}").values_of("x/x") == {"a": "x"}
    assert BatchTemplate("{a}/{a}").values_of("x/y") is None


def test_names_tell_dates_from_texts() -> None:
    names = BatchTemplate("{a}-{d:%Y}-{today}-{number}").names
    assert names == {"a": NameType.TEXT, "d": NameType.DATE, "today": NameType.DATE, "number": NameType.TEXT}


@pytest.mark.parametrize("batch_id", ["", "2024-3", "2024-13", "mar 2024", "2024-03\n", " 2024-03", "x2024-03"])
def test_an_id_of_another_form_has_no_values(batch_id: str) -> None:
    assert BatchTemplate("{period:%Y-%m}").values_of(batch_id) is None


def test_two_triggers_with_different_values_never_get_the_same_id() -> None:
    template = BatchTemplate("{a}-{b}")
    assert template.render({"a": "x", "b": "y-z"}) == "x-y-z"
    with pytest.raises(TemplateError, match=r"'a' is 'x-y', which a batch id of the form '\{a\}-\{b\}' cannot hold"):
        template.render({"a": "x-y", "b": "z"})


def test_a_missing_and_an_empty_value_are_refused() -> None:
    with pytest.raises(TemplateError, match="needs a value for 'b'"):
        BatchTemplate("{a}-{b}").render({"a": "x"})
    with pytest.raises(TemplateError, match="'a' is ''"):
        BatchTemplate("{a}").render({"a": ""})


def test_an_id_is_never_longer_than_the_database_keeps() -> None:
    with pytest.raises(TemplateError):
        BatchTemplate("{a}").render({"a": "x" * (LONGEST_BATCH_ID + 1)})
    assert BatchTemplate("{a}").values_of("x" * (LONGEST_BATCH_ID + 1)) is None


@given(TEMPLATES, TEXTS, TEXTS, st.dates())
def test_what_is_rendered_is_read_back(text: str, a: str, b: str, d: date) -> None:
    template = BatchTemplate(text)
    assert not list(template.problems())
    values: dict[str, Value] = {"a": a, "b": b, "d": d}
    try:
        batch_id = template.render(values)
    except TemplateError:
        return
    back = template.values_of(batch_id)
    assert back is not None
    assert template.render(back) == batch_id
    assert {name: value for name, value in back.items() if name != "d"} == {
        name: values[name] for name in back if name != "d"
    }


@given(TEMPLATES, st.text(alphabet="ab-/.2024Wx Marc", max_size=16))
def test_values_of_any_id_lead_back_to_it(text: str, batch_id: str) -> None:
    values = BatchTemplate(text).values_of(batch_id)
    if values is not None:
        assert BatchTemplate(text).render(values) == batch_id


@given(st.dates(date(1000, 1, 1)), st.text(alphabet="abc", min_size=1))
def test_ordinary_values_always_make_an_id(d: date, a: str) -> None:
    assert BatchTemplate("{a}/{d:%Y-%m}").values_of(f"{a[:100]}/{d:%Y-%m}") == {"a": a[:100], "d": d.replace(day=1)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{a}{b}", "need a text between them"),
        ("{a}{d:%B %Y}", "'{a}' and '{d}' need a text between them"),
        ("{d:%m}", "names no year"),
        ("{d:%Y-W%W}", "does not lead back"),
        ("{number:%Y}{today}", "'number' is text"),
        ("{number}", "whole day"),
        ("{today:%Y%m}_{number}", "whole day"),
        ("{Period}", "no braces but"),
        ("", "printable text"),
        (" {a}", "printable text"),
        ("{a}\n{b}", "printable text"),
    ],
)
def test_a_template_that_cannot_name_batches_is_refused(text: str, reason: str) -> None:
    assert any(reason in problem for problem in BatchTemplate(text).problems())


@pytest.mark.parametrize("text", ["{a}{d:%Y%m}", "{today}{number}", "constant", "{a}-{b}", DEFAULT_BATCH])
def test_a_template_that_can_be_read_back_is_accepted(text: str) -> None:
    assert not list(BatchTemplate(text).problems())
