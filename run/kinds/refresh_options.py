"""What a `power_bi_refresh` task says, and the request that it becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from run.clients.power_bi import MOST_KEPT
from run.errors import PermanentFailure
from run.kinds.kind import KindConfig
from run.kinds.secret_name import Secret
from run.workflows.durations import TimeLimit
from run.workflows.scope import Scope
from run.workflows.templates import Value, names_in, render, template_problems

#: https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group#datasetrefreshtype
_TYPES = {
    "automatic": "Automatic",
    "full": "Full",
    "data_only": "DataOnly",
    "calculate": "Calculate",
    "clear_values": "ClearValues",
    "defragment": "Defragment",
}
_COMMIT_MODES = {"transactional": "Transactional", "partial_batch": "PartialBatch"}
#: Any of these makes the refresh an enhanced one.
_ENHANCED_KEYS = (
    "type",
    "tables",
    "partitions",
    "commit_mode",
    "apply_refresh_policy",
    "effective_date",
    "max_parallelism",
    "retry_count",
    "attempt_timeout",
)
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TENANT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_IDS = ("workspace", "dataset", "report", "dataset_workspace", "client_id")
#: An attempt of Power BI's own may be given less than a day: its pattern of `timeout` ends at 23:59:59.
_LONGEST_ATTEMPT = 24 * 3600 - 1
#: What a standard refresh may be begun a day on shared capacity, by schedule and API together:
#: https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group#limitations
_SHARED_BUDGET = 8


class PowerBiRefreshConfig(KindConfig):
    """The keys of a `power_bi_refresh` task."""

    workspace: str
    dataset: str | None = None
    report: str | None = None
    dataset_workspace: str | None = None
    tenant: str
    client_id: str
    client_secret: Secret
    type: Literal["automatic", "full", "data_only", "calculate", "clear_values", "defragment"] | None = None
    tables: list[str] = Field(default_factory=list)
    partitions: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)
    commit_mode: Literal["transactional", "partial_batch"] | None = None
    apply_refresh_policy: bool | None = None
    effective_date: str | None = None
    max_parallelism: int | None = Field(default=None, ge=1)
    retry_count: int | None = Field(default=None, ge=0)
    attempt_timeout: Annotated[TimeLimit, Field(le=_LONGEST_ATTEMPT)] | None = None
    daily_budget: Annotated[int, Field(ge=1, le=MOST_KEPT)] | Literal["unlimited"] | None = None

    @model_validator(mode="after")
    def _that_fits_together(self) -> Self:
        if (self.dataset is None) == (self.report is None):
            raise ValueError("write dataset or report, one of them")
        if self.dataset_workspace is not None and self.report is None:
            raise ValueError("dataset_workspace is where the dataset of a report lives; a dataset lives in workspace")
        if self.commit_mode == "partial_batch" and self.apply_refresh_policy is not False:
            raise ValueError("commit_mode: partial_batch needs apply_refresh_policy: false")
        if self.effective_date is not None and self.apply_refresh_policy is False:
            raise ValueError("effective_date is for the refresh policy, and apply_refresh_policy is false")
        return self

    @property
    def is_enhanced(self) -> bool:
        """Whether this takes an enhanced refresh, which shared capacity does not have."""
        return any(getattr(self, key) not in (None, [], {}) for key in _ENHANCED_KEYS)

    @property
    def budget(self) -> int | None:
        """How many refreshes a day there may be; None is without end."""
        if self.daily_budget == "unlimited":
            return None
        return self.daily_budget or (None if self.is_enhanced else _SHARED_BUDGET)


def problems_of(config: PowerBiRefreshConfig, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for what is wrong with the templates and the ids."""
    for key, template in _templates(config):
        for reason in template_problems(template, scope.names):
            yield key, reason
        if not names_in(template, scope.names) and (why := _no_value(key, template)):
            yield key, why


def filled(config: PowerBiRefreshConfig, key: str, values: Mapping[str, Value]) -> str:
    """The id or date under this key with its names replaced; raises PermanentFailure when it is none."""
    text = render(getattr(config, key), values)
    if reason := _no_value(key, text):
        raise PermanentFailure(f"{key}: {reason}")
    return text


def request_of(config: PowerBiRefreshConfig, values: Mapping[str, Value]) -> dict[str, Any]:
    """The body of the request that begins the refresh."""
    if not config.is_enhanced:
        # Mail is not for service principals:
        # https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group#notifyoption
        return {"notifyOption": "NoNotification"}
    told = {
        "type": _TYPES[config.type or "automatic"],
        "commitMode": _COMMIT_MODES[config.commit_mode or "transactional"],
        "objects": _objects(config, values) or None,
        "applyRefreshPolicy": config.apply_refresh_policy,
        "effectiveDate": _effective_date(config, values),
        "maxParallelism": config.max_parallelism,
        "retryCount": config.retry_count,
        "timeout": _clock(config.attempt_timeout),
    }
    return {key: value for key, value in told.items() if value is not None}


def asks_for(request: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether an enhanced refresh, as Power BI tells its details, does what this request asks for."""
    same = all(str(told.get(key, "")).lower() == request[key].lower() for key in ("type", "commitMode"))
    theirs = [{"table": one.get("table"), "partition": one.get("partition")} for one in told.get("objects") or ()]
    return same and all(_is_among(one, theirs) for one in request.get("objects", ()))


def _is_among(wanted: Mapping[str, str], told: list[dict[str, Any]]) -> bool:
    # A whole table is told as each of its partitions.
    return any(all(one[key] == value for key, value in wanted.items()) for one in told)


def _templates(config: PowerBiRefreshConfig) -> Iterator[tuple[str, str]]:
    for key in ("tenant", *_IDS, "effective_date"):
        if (text := getattr(config, key)) is not None:
            yield key, text
    for index, table in enumerate(config.tables):
        yield f"tables.{index}", table
    for table, partitions in config.partitions.items():
        for text in (table, *partitions):
            yield "partitions", text


def _no_value(key: str, text: str) -> str | None:
    """Why this text cannot be the value of the key; None when it can."""
    if key == "tenant" and not _TENANT.fullmatch(text):
        return f"'{text}' is no tenant; write its id or its domain"
    if key in _IDS and not _ID.fullmatch(text):
        return f"'{text}' is no id; it must be like f089354e-8366-4e18-aea3-4cb4a3a50b48, as in Power BI's addresses"
    if key == "effective_date" and not _is_date(text):
        return f"'{text}' is no date; it must be like 2024-03-31"
    return None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _objects(config: PowerBiRefreshConfig, values: Mapping[str, Value]) -> list[dict[str, str]]:
    tables = [{"table": render(table, values)} for table in config.tables]
    return tables + [
        {"table": render(table, values), "partition": render(partition, values)}
        for table, partitions in config.partitions.items()
        for partition in partitions
    ]


def _effective_date(config: PowerBiRefreshConfig, values: Mapping[str, Value]) -> str | None:
    if config.effective_date is None:
        return None
    return f"{date.fromisoformat(filled(config, 'effective_date', values)).isoformat()}T00:00:00Z"


def _clock(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"
