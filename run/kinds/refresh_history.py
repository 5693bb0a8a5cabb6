"""What an attempt at a refresh reads in the dataset's history: whose refreshes those are, and how many were today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from run.clients.power_bi import Dataset, History, Refresh
from run.errors import PassingFailure

_SHORTEST_SECONDS, _LONGEST_SECONDS = 5.0, 30.0
#: A refresh is asked for again after this part of the time that it has taken so far.
_PART = 0.25
#: Neither a standard refresh nor an enhanced one lasts longer, whatever the history still says of it:
#: https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh
_LONGEST_REFRESH = timedelta(hours=24)
_STANDARD, _ENHANCED = "ViaApi", "ViaEnhancedApi"
#: Others that refresh the whole dataset as a standard refresh does.
_AS_GOOD_AS_STANDARD = frozenset({"Scheduled", "OnDemand"})
#: What Power BI counts; a refresh on demand, by a person, is not among it:
#: https://learn.microsoft.com/power-bi/connect-data/refresh-data#data-refresh
_COUNTED = frozenset({"Scheduled", _STANDARD, _ENHANCED})
#: Power BI refuses by "refresh requests in last 24 hours":
#: https://github.com/MicrosoftDocs/BusinessApplicationPlatform-Connectors-public/issues/450
_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Moment:
    """When an attempt began, as Power BI tells it: its clock, and the refreshes that it knew then.

    No clock of ours takes part, so none can be wrong.
    """

    dataset: Dataset
    told_at: datetime
    known: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset, history: History) -> Moment:
        """The moment at which this history was told."""
        return cls(dataset, history.told_at, frozenset(one.id for one in history.refreshes))

    @classmethod
    def read(cls, handle: Mapping[str, Any]) -> Moment:
        """The moment that a handle keeps."""
        dataset = Dataset(handle["workspace"], handle["dataset"])
        return cls(dataset, datetime.fromisoformat(handle["told_at"]), frozenset(handle["known"]))

    @property
    def handle(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "workspace": self.dataset.workspace,
            "dataset": self.dataset.id,
            "told_at": self.told_at.isoformat(),
            "known": sorted(self.known),
        }

    def is_before(self, refresh: Refresh) -> bool:
        """Whether the refresh began after this moment, so that it has read what was there then.

        One that was running already may come into the history late: so the clock counts beside the ids.
        """
        return refresh.id not in self.known and refresh.began is not None and refresh.began >= self.told_at


def may_be_ours(moment: Moment, history: History, *, enhanced: bool) -> list[Refresh]:
    """The refreshes that this attempt may have begun, the oldest first."""
    kind = _ENHANCED if enhanced else _STANDARD
    return [one for one in reversed(history.refreshes) if one.kind == kind and moment.is_before(one)]


def does_our_work(moment: Moment, history: History) -> list[Refresh]:
    """Refreshes by others that do, or have done, what a standard refresh of this attempt would do."""
    others = (one for one in history.refreshes if one.kind in _AS_GOOD_AS_STANDARD and moment.is_before(one))
    return [one for one in others if one.is_running or one.status == "Completed"]


def running(history: History) -> Refresh | None:
    """The refresh that ours must wait for."""
    return next((one for one in history.refreshes if one.is_running and _age(history, one) < _LONGEST_REFRESH), None)


def seconds_until_next_look(history: History, refresh: Refresh) -> float:
    """Short at first, longer the longer the refresh takes."""
    return min(max(_age(history, refresh).total_seconds() * _PART, _SHORTEST_SECONDS), _LONGEST_SECONDS)


def refuse_over_budget(dataset: Dataset, history: History, budget: int | None) -> None:
    """Raise PassingFailure when the dataset was refreshed that often in the last 24 hours, by schedule or API."""
    counted = list(_counted(history))
    if budget is None or len(counted) < budget:
        return
    again = min(counted[:budget]) + _DAY
    raise PassingFailure(
        f"{dataset} was refreshed {len(counted)} times in the last 24 hours, and its daily_budget is {budget}; there "
        f"is room again at {again:%Y-%m-%d %H:%M} UTC (shared capacity allows 8 a day; where more is allowed, say so "
        "with daily_budget)"
    )


def _counted(history: History) -> Iterator[datetime]:
    for one in history.refreshes:
        if one.kind in _COUNTED and one.status != "Disabled" and one.began and _age(history, one) < _DAY:
            yield one.began


def _age(history: History, refresh: Refresh) -> timedelta:
    return history.told_at - (refresh.began or history.told_at)
