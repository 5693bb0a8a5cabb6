"""What the report of the demo must say: the same figures, from the source tables, by Python alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from run.local.demo_files import flights_table, weather_table

#: Minutes behind the schedule from which a flight is late, as in examples/flights/delay_report.sql.
LATE = 15
#: Sums of the same numbers in another order differ in their last digits.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class MonthlyDelays:
    """One row of the report: delays in minutes, wind in miles per hour, visibility in miles."""

    month: str
    flights: int
    cancelled: int
    late: int
    mean_delay: float
    wind_when_late: float
    wind_when_punctual: float
    visibility_when_late: float
    visibility_when_punctual: float

    def agrees_with(self, other: MonthlyDelays) -> bool:
        """Whether all figures are the same, means up to the rounding of floating point."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(_same(mine, theirs) for mine, theirs in pairs)


@dataclass(frozen=True)
class SourceFigures:
    """What was counted in the source tables."""

    delays: tuple[MonthlyDelays, ...]
    flights: int
    weather_rows: int


def figures_of_sources(months: Collection[str]) -> SourceFigures:
    """Read both tables of the year and work out the report of these months; raises StartFailed without the package."""
    sums = {month: _Sums() for month in months}
    weather_rows, weather = _weather(months)
    with flights_table() as table, _rows(table) as flights:
        for flight in flights:
            month = _month(flight)
            if month in sums:
                sums[month].add(flight["dep_delay"], weather.get((flight["origin"], flight["time_hour"])))
    delays = tuple(sums[month].delays(month) for month in sorted(months))
    return SourceFigures(delays, sum(one.flights for one in delays), weather_rows)


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: str) -> None:
        if value != "NA":
            self.total += float(value)
            self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass
class _Weather:
    wind: _Mean = field(default_factory=_Mean)
    visibility: _Mean = field(default_factory=_Mean)


@dataclass
class _Sums:
    flights: int = 0
    cancelled: int = 0
    delay: _Mean = field(default_factory=_Mean)
    late: int = 0
    when_late: _Weather = field(default_factory=_Weather)
    when_punctual: _Weather = field(default_factory=_Weather)

    def add(self, delay: str, weather: tuple[str, str] | None) -> None:
        self.flights += 1
        if delay == "NA":
            self.cancelled += 1
            return
        self.delay.add(delay)
        is_late = int(delay) >= LATE
        self.late += is_late
        if weather is not None:
            means = self.when_late if is_late else self.when_punctual
            means.wind.add(weather[0])
            means.visibility.add(weather[1])

    def delays(self, month: str) -> MonthlyDelays:
        return MonthlyDelays(
            month,
            self.flights,
            self.cancelled,
            self.late,
            self.delay.value,
            self.when_late.wind.value,
            self.when_punctual.wind.value,
            self.when_late.visibility.value,
            self.when_punctual.visibility.value,
        )


def _weather(months: Collection[str]) -> tuple[int, dict[tuple[str, str], tuple[str, str]]]:
    with weather_table() as table, _rows(table) as hours:
        rows = [row for row in hours if _month(row) in months]
    return len(rows), {(row["origin"], row["time_hour"]): (row["wind_speed"], row["visib"]) for row in rows}


@contextmanager
def _rows(table: BinaryIO) -> Iterator[Iterable[Mapping[str, str]]]:
    with io.TextIOWrapper(table, encoding="utf-8", newline="") as text:
        yield csv.DictReader(text)


def _month(row: Mapping[str, str]) -> str:
    return f"{row['year']}-{int(row['month']):02}"


def _same(mine: object, theirs: object) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return math.isclose(mine, theirs, rel_tol=TOLERANCE)
    return mine == theirs
