"""The kinds of tasks of the chaos run: each tells the outside world what it does, and does as the plan has ordered."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from database.keys import WHOLE
from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import AwaitsCompletion, Finished, GoesOn, Kind, KindConfig, Progress, Work
from tests.faults.chaos.world import What

#: Where the outside world is.
WORLD_VARIABLE = "OUTSIDE_WORLD"
#: Longer than the outside world ever takes, while somebody is frozen.
ANSWER_SECONDS = 60
FOR_EVER = 1_000_000.0
#: Plain work ends to the stroke of the clock.
STROKE_SECONDS = 0.1


class ChaosConfig(KindConfig):
    """What a task is ordered to do; an element is ordered to by its item."""

    seconds: float = 0.0
    #: How many attempts fail, passingly, before one succeeds.
    failures: int = 0
    #: Whether those attempts of a job do not fail but never end, so that they time out and are cancelled.
    hangs: bool = False
    #: Whether every attempt fails for good.
    broken: bool = False
    #: Whether the outside world has no time for the attempt when it is first asked.
    busy: bool = False
    #: After how many seconds a job is asked for again.
    poll_after: float = 1.0
    #: What it returns for the tasks that are mapped over it, by their names: the orders of their elements.
    lists: Mapping[str, Sequence[Mapping[str, Any]]] = {}


class Plain(Kind[ChaosConfig]):
    """Work that nothing keeps from being done twice: it is done at least once."""

    name = "chaos_plain"
    config = ChaosConfig

    def start(self, config: ChaosConfig, work: Work) -> Progress:
        config = _orders(config, work)
        _may_start(config, work)
        _do(What.BEGIN, work)
        time.sleep(config.seconds)
        if config.broken:
            raise PermanentFailure("broken, as ordered")
        if work.attempt <= config.failures:
            raise PassingFailure(f"attempt {work.attempt} fails, as ordered")
        _do(What.END, work)
        # Parents that end at about the same time are to end at the same moment.
        time.sleep(STROKE_SECONDS - time.time() % STROKE_SECONDS)
        return _finished(config, work)


class PlainFile(Plain):
    """The same, with a file."""

    name = "chaos_file"
    takes_file = True


class Job(Kind[ChaosConfig]):
    """A job under the attempt's key, as BigQuery's are: inserted once, whoever does it, and polled until it is done."""

    name = "chaos_job"
    config = ChaosConfig

    def start(self, config: ChaosConfig, work: Work) -> Progress:
        config = _orders(config, work)
        _may_start(config, work)
        is_to_fail = work.attempt <= config.failures
        seconds = FOR_EVER if config.hangs and is_to_fail else config.seconds
        order = {"seconds": seconds, "fails": is_to_fail or config.broken}
        return _progress(config, work, _ask("/insert", {**_said_of(work), **order, "key": work.key}))

    def poll(self, config: ChaosConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        if handle["key"] != work.key:
            raise PermanentFailure(f"the handle is of {handle['key']}, the attempt is {work.key}")
        return _progress(_orders(config, work), work, _ask("/look", {"key": work.key}))

    def cancel(self, config: ChaosConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        return bool(_ask("/cancel", {**_said_of(work), "key": work.key})["ended"])


class Outside(Kind[ChaosConfig]):
    """Work that somebody outside does, who says by a message that it is done."""

    name = "chaos_outside"
    config = ChaosConfig

    def awaits_completion(self, config: ChaosConfig) -> bool:
        return True

    def start(self, config: ChaosConfig, work: Work) -> Progress:
        _may_start(_orders(config, work), work)
        _do(What.HAND_OVER, work)
        return AwaitsCompletion()


CHAOS_KINDS: tuple[type[Kind[Any]], ...] = (Plain, PlainFile, Job, Outside)


def _orders(config: ChaosConfig, work: Work) -> ChaosConfig:
    return config if work.element is None else ChaosConfig.model_validate(work.item)


def _may_start(config: ChaosConfig, work: Work) -> None:
    if config.busy and _ask("/refuse", _said_of(work))["refused"]:
        raise Unavailable("the outside world is busy, as ordered")


def _progress(config: ChaosConfig, work: Work, state: Mapping[str, Any]) -> Progress:
    if not state["done"]:
        return GoesOn({"key": work.key}, poll_after=config.poll_after)
    if state["failed"] and config.broken:
        raise PermanentFailure("broken, as ordered")
    if state["failed"]:
        raise PassingFailure(f"the job {work.key} failed, as ordered")
    return _finished(config, work)


def _finished(config: ChaosConfig, work: Work) -> Finished:
    return Finished({"key": work.key, "lists": config.lists})


def _do(what: What, work: Work) -> None:
    _ask("/do", {**_said_of(work), "what": what})


def _said_of(work: Work) -> dict[str, Any]:
    names = {"workflow": work.workflow, "batch": work.batch_id, "task": work.task}
    element = WHOLE if work.element is None else work.element
    return {**names, "element": element, "attempt": work.attempt, "owner": os.getpgrp()}


def _ask(path: str, told: Mapping[str, Any]) -> dict[str, Any]:
    connection = HTTPConnection(urlsplit(os.environ[WORLD_VARIABLE]).netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", path, json.dumps(told))
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer
