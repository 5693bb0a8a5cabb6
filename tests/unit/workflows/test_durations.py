from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run.workflows.durations import read_duration, written


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("90", 90), (90, 90), (" 5m ", 300), (0, 0), ("0s", 0)],
)
def test_a_duration_is_read_as_seconds(text: Any, seconds: int) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "1.5h", "5 m", "5M", "1h30m", "٣m", True, None, 1.5, [], "9" * 13])
def test_what_is_no_duration_is_refused_with_what_would_be_right(text: Any) -> None:
    with pytest.raises(ValueError, match="is no duration; write 90s, 15m, 2h, 7d or a whole number of seconds"):
        read_duration(text)


@pytest.mark.parametrize("text", ["3651d", 315_360_001, -1])
def test_a_duration_that_no_clock_can_be_moved_by_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="at least 0 and at most 3650d"):
        read_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (30, "30s"), (90, "90s"), (900, "15m"), (5400, "90m"), (7200, "2h"), (604_800, "7d")],
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert written(seconds) == text


@given(st.integers(0, 3650 * 86_400))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert read_duration(written(seconds)) == seconds
