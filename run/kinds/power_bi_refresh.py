"""`power_bi_refresh`: a dataset of Power BI, or the one that a report shows, reads its data anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from run.clients.power_bi import AlreadyRefreshing, Dataset, History, PowerBi, Refresh, Throttled
from run.errors import PassingFailure, PermanentFailure, TaskFailure, Unavailable
from run.kinds.kind import Finished, GoesOn, Kind, Progress, Work
from run.kinds.refresh_history import (
    Moment,
    does_our_work,
    may_be_ours,
    refuse_over_budget,
    running,
    seconds_until_next_look,
)
from run.kinds.refresh_options import PowerBiRefreshConfig, asks_for, filled, problems_of, request_of
from run.workflows.scope import Scope

#: Until an accepted refresh is asked for the first time, in seconds.
_FIRST_LOOK_SECONDS = 5.0
#: How long an accepted refresh may be missing in the history: under a flood of requests Power BI drops some of those
#: that it has accepted.
_LATEST_SHOWING, _MISSING_LOOK_SECONDS = timedelta(minutes=10), 15.0
#: Ends that another try does not change: somebody wanted them, or must do something first.
_PERMANENT_STATUSES = frozenset({"Cancelled", "Disabled"})
_PERMANENT_ERRORS = ("ModelRefreshFailed_CredentialsNotSpecified", "ModelRefreshDisabled")


class PowerBiRefresh(Kind[PowerBiRefreshConfig]):
    """Refreshes one dataset and waits until Power BI says that it is done.

    Power BI knows no key of ours, so `start` only reads the history. What it read is stored as the handle before
    `poll` asks for a refresh; whoever comes after a lost answer or a dead worker adopts what began since then.
    """

    name = "power_bi_refresh"
    config = PowerBiRefreshConfig
    #: What the client did not understand says nothing of the refresh, so it must not begin another attempt.
    passing: ClassVar[tuple[type[Exception], ...]] = ()
    #: Long enough for somebody else's refresh before ours.
    timeout_seconds: ClassVar[int | None] = 24 * 3600

    def problems(self, config: PowerBiRefreshConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return problems_of(config, scope)

    def start(self, config: PowerBiRefreshConfig, work: Work) -> Progress:
        """Find the dataset, and read what Power BI knows before this attempt has done anything."""
        try:
            power_bi = self._power_bi(config, work)
            dataset = _dataset(power_bi, config, work)
            return GoesOn(Moment.of(dataset, power_bi.history(dataset)).handle, 0)
        except Throttled as throttled:
            return GoesOn({}, throttled.seconds)

    def poll(self, config: PowerBiRefreshConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        """Look into the history; begin the refresh when it is not there and nothing is in its way."""
        if not handle:
            return self.start(config, work)
        try:
            return _Attempt(self._power_bi(config, work), config, work, handle).go_on()
        except Throttled as throttled:
            return GoesOn(handle, throttled.seconds)

    def cancel(self, config: PowerBiRefreshConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        """End an enhanced refresh that is surely ours; await the end of any other, which Power BI does not cancel."""
        if not handle:
            return True
        try:
            return _Attempt(self._power_bi(config, work), config, work, handle).end()
        except Throttled as throttled:
            raise Unavailable(str(throttled)) from throttled

    def _power_bi(self, config: PowerBiRefreshConfig, work: Work) -> PowerBi:
        tenant, client_id = (filled(config, key, work.values) for key in ("tenant", "client_id"))
        return self.clients.power_bi(tenant, client_id, self.clients.secrets.value(config.client_secret.secret))


def _dataset(power_bi: PowerBi, config: PowerBiRefreshConfig, work: Work) -> Dataset:
    workspace = filled(config, "workspace", work.values)
    if config.report is None:
        return Dataset(workspace, filled(config, "dataset", work.values))
    dataset = power_bi.dataset_of_report(workspace, filled(config, "report", work.values))
    if config.dataset_workspace is not None:
        workspace = filled(config, "dataset_workspace", work.values)
    return Dataset(workspace, dataset)


class _Attempt:
    """An attempt after its moment was stored. Beside that moment its handle has, as soon as there is one,

    `refresh`, the id of the refresh that is followed, and `posted_at`, by Power BI's clock, when that is surely ours:
    Power BI has answered our request with this id.
    """

    def __init__(self, power_bi: PowerBi, config: PowerBiRefreshConfig, work: Work, handle: Mapping[str, Any]) -> None:
        self._power_bi = power_bi
        self._config = config
        self._work = work
        self._request = request_of(config, work.values)
        self._handle = handle
        self._moment = Moment.read(handle)
        self._dataset = self._moment.dataset

    def go_on(self) -> Progress:
        history = self._power_bi.history(self._dataset)
        refresh = self._followed(history) or self._adoptable(history)
        if refresh is not None:
            return self._judged(history, refresh)
        if "posted_at" in self._handle:
            return self._missing(history)
        return self._begun(history)

    def end(self) -> bool:
        history = self._power_bi.history(self._dataset)
        refresh = self._followed(history)
        if refresh is None and self._may_yet_show(history):
            raise Unavailable(f"refresh {self._handle['refresh']} of {self._dataset} does not show yet")
        if refresh is None:
            refresh = next((one for one in self._possibly_ours(history) if one.is_running), None)
        if refresh is None or not refresh.is_running:
            return True
        if self._config.is_enhanced and self._is_surely_ours(refresh):
            self._power_bi.cancel(self._dataset, refresh.id)
            return False
        why = "may be somebody else's" if self._config.is_enhanced else "is a standard one, which cannot be cancelled"
        raise Unavailable(f"refresh {refresh.id} of {self._dataset} {why}; its end is awaited")

    def _is_surely_ours(self, refresh: Refresh) -> bool:
        return "posted_at" in self._handle and self._handle["refresh"] == refresh.id

    def _may_yet_show(self, history: History) -> bool:
        if "posted_at" not in self._handle:
            return False
        return history.told_at - datetime.fromisoformat(self._handle["posted_at"]) < _LATEST_SHOWING

    def _followed(self, history: History) -> Refresh | None:
        found = history.find(self._handle["refresh"]) if "refresh" in self._handle else None
        return None if found and self._was_taken_away(found) else found

    def _was_taken_away(self, refresh: Refresh) -> bool:
        """Whether it was cancelled together with somebody else's attempt, which says nothing about this one."""
        return refresh.status == "Cancelled" and not self._is_surely_ours(refresh)

    def _adoptable(self, history: History) -> Refresh | None:
        """A refresh that began after the moment and does what this task is to do, our own before others'."""
        found = self._possibly_ours(history)
        if not found and not self._config.is_enhanced:
            found = does_our_work(self._moment, history)
        return found[0] if found else None

    def _possibly_ours(self, history: History) -> list[Refresh]:
        found = may_be_ours(self._moment, history, enhanced=self._config.is_enhanced)
        return [one for one in found if not self._was_taken_away(one) and self._asks_for_the_same(one)]

    def _asks_for_the_same(self, refresh: Refresh) -> bool:
        if not self._config.is_enhanced:
            return True
        details = self._power_bi.details(self._dataset, refresh.id)
        return details is not None and asks_for(self._request, details.raw)

    def _begun(self, history: History) -> GoesOn:
        other = running(history)
        if other is not None:
            return GoesOn(self._handle, seconds_until_next_look(history, other))
        refuse_over_budget(self._dataset, history, self._config.budget)
        # A worker that has slept since it looked, and has lost the attempt meanwhile, must not begin another one.
        self._work.store_handle(self._handle)
        try:
            refresh_id = self._power_bi.refresh(self._dataset, self._request)
        except AlreadyRefreshing:
            refresh_id = None
        if refresh_id is None:
            return GoesOn(self._handle, _FIRST_LOOK_SECONDS)
        posted = {"refresh": refresh_id, "posted_at": history.told_at.isoformat()}
        return GoesOn({**self._handle, **posted}, _FIRST_LOOK_SECONDS)

    def _missing(self, history: History) -> GoesOn:
        if self._may_yet_show(history):
            return GoesOn(self._handle, _MISSING_LOOK_SECONDS)
        refresh_id = self._handle["refresh"]
        raise PassingFailure(
            f"Power BI has accepted refresh {refresh_id} of {self._dataset} and does not show it",
            {"refresh_id": refresh_id, "dataset": self._dataset.id},
        )

    def _judged(self, history: History, refresh: Refresh) -> Progress:
        if refresh.is_running:
            adopted = {**self._moment.handle, "refresh": refresh.id}
            handle = self._handle if self._is_surely_ours(refresh) else adopted
            return GoesOn(handle, seconds_until_next_look(history, refresh))
        if refresh.status == "Completed":
            return Finished(self._details(refresh))
        raise self._failure(refresh)

    def _failure(self, refresh: Refresh) -> TaskFailure:
        error = refresh.error
        if self._config.is_enhanced:
            # Only here are the messages of an enhanced refresh.
            told = self._power_bi.details(self._dataset, refresh.id)
            error = told.error if told and told.error else error
        text = f"refresh {refresh.id} of {self._dataset} ended as {refresh.status}: {error or 'no reason was given'}"
        is_permanent = refresh.status in _PERMANENT_STATUSES or any(code in error for code in _PERMANENT_ERRORS)
        failure = PermanentFailure if is_permanent else PassingFailure
        return failure(text, {**self._details(refresh), "error": error})

    def _details(self, refresh: Refresh) -> dict[str, Any]:
        return {
            "workspace": self._dataset.workspace,
            "dataset": self._dataset.id,
            "refresh_id": refresh.id,
            "refresh_type": refresh.kind,
            "status": refresh.status,
            "began": refresh.began.isoformat() if refresh.began else None,
            "ended": refresh.ended.isoformat() if refresh.ended else None,
            "adopted": not self._is_surely_ours(refresh),
        }
