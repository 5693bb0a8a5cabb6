"""Scenarios are played by processes that die, and by others that do not: forks of this one, which is ready to play."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import assert_never

from tests.faults.kill.instance import Instance
from tests.faults.kill.journal import Journal
from tests.faults.kill.points import KILLED, Fault, Point, Points, Sample
from tests.faults.kill.postgres_proxy import postgres_proxy
from tests.faults.kill.scenario import Scenario
from tests.faults.kill.scenarios import SCENARIOS
from tests.faults.kill.tables import History, Tables
from tests.faults.kill.theatre import Played

#: A process that takes longer hangs; SIGALRM ends it.
LONGEST_RUN_SECONDS = 30
#: Work without a key is begun again, and what a dead worker may yet begin is ended.
MAY_BE_MORE = ("begun at least once", "cancelled")
#: Of each scenario, in a sample.
FEWEST_DEATHS, FEWEST_LOST_ANSWERS = 5, 3


class Stage:
    """Where scenarios are played, one after the other: a database, a journal, and processes to be forked."""

    def __init__(self, url: str, proxied_url: str, folder: Path) -> None:
        self._tables = Tables(url)
        self._journal = Journal(folder / "journal")
        self._before = folder / "before"
        self._points = Points()
        self._points.watch_statements()
        self._instance = Instance(url, self._journal, self._points)
        self._instance_behind_proxy = Instance(proxied_url, self._journal, self._points)
        self._samples = {Fault.DEATH: Sample(FEWEST_DEATHS), Fault.LOST_ANSWER: Sample(FEWEST_LOST_ANSWERS)}
        # What is there for all of them is not looked at again in each.
        gc.freeze()

    def play(self, scenario: Scenario, fault: Fault) -> Played:
        """Play it undisturbed, and then with a fault at one point after the other."""
        try:
            self._prepare(scenario)
            expected, reached = self._undisturbed(scenario)
        except AssertionError as error:
            return Played(failures={"without any fault": str(error)})
        points = [point for point in reached if scenario.only in point.name]
        chosen = self._chosen(points, fault)
        return Played(
            ends=expected["ends"],
            contradictions=expected["contradictions"],
            points=len(points),
            faults=len(chosen),
            names=sorted({point.name.removeprefix("COMMIT of ") for point in reached}),
            failures=self._disturbed(scenario, fault, chosen, expected),
        )

    def _chosen(self, points: Sequence[Point], fault: Fault) -> Sequence[Point]:
        match fault:
            case Fault.DEATH:
                return self._samples[fault].of(points)
            case Fault.EVERY_DEATH:
                return points
            case Fault.LOST_ANSWER:
                return self._samples[fault].of([point for point in points if point.has_answer])
            case Fault.NONE:
                return []
            case _:
                assert_never(fault)

    def _prepare(self, scenario: Scenario) -> None:
        self._tables.clear()
        self._journal.begin()
        self._live(lambda: scenario.prepare(self._instance))
        self._tables.keep()
        self._before.write_bytes(self._journal.path.read_bytes())

    def _undisturbed(self, scenario: Scenario) -> tuple[History, list[Point]]:
        self._begin()

        def live() -> None:
            scenario.live(self._instance)
            self._journal.write("reached", points=[vars(point) for point in self._points.reached])

        self._live(live)
        [reached] = self._journal.read("reached")
        return self._history(scenario), [Point(**point) for point in reached["points"]]

    def _disturbed(
        self, scenario: Scenario, fault: Fault, points: Sequence[Point], expected: History
    ) -> dict[str, str]:
        loses = fault is Fault.LOST_ANSWER
        failures = {}
        with closing(Survivor(self._instance_behind_proxy if loses else self._instance, scenario)) as survivor:
            for point in points:
                self._begin()
                wrong = survivor.live_without_answer(point) if loses else self._with_death(scenario, point, survivor)
                wrong = wrong or _difference(expected, self._history(scenario))
                if wrong:
                    failures[str(point)] = wrong
        return failures

    def _with_death(self, scenario: Scenario, point: Point, survivor: Survivor) -> str:
        def die() -> None:
            self._points.fatal = point
            scenario.live(self._instance)

        ended = self._in_a_process(die)
        if ended != KILLED:
            return f"the process did not die there, it ended with {ended}: {self._journal.read('crashed')}"
        self._tables.wait_for_the_dead()
        return survivor.go_on()

    def _begin(self) -> None:
        self._tables.restore()
        self._journal.begin(self._before)

    def _live(self, work: Callable[[], None]) -> None:
        ended = self._in_a_process(work)
        assert ended == 0, f"a process that nobody killed ended with {ended}: {self._journal.read('crashed')}"
        self._tables.wait_for_the_dead()

    def _in_a_process(self, work: Callable[[], None]) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(LONGEST_RUN_SECONDS)
                gc.disable()
                self._instance.wake()
                work()
                status = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the stage is told
                self._journal.write("crashed", trace=traceback.format_exc())
            finally:
                os._exit(status)
        return _end_of(child)

    def _history(self, scenario: Scenario) -> History:
        begun = [entry for entry in self._journal.read("begun") if entry["task"] != scenario.needless]
        return {
            **self._tables.history(),
            "begun once": sorted([entry["task"], entry["attempt"]] for entry in begun if entry["once"]),
            "begun at least once": sorted({(entry["task"], entry["attempt"]) for entry in begun if not entry["once"]}),
            "cancelled": sorted([entry["task"], entry["attempt"]] for entry in self._journal.read("cancelled")),
            "told at least once": sorted({(entry["about"], entry["subject"]) for entry in self._journal.read("told")}),
            "contradictions": self._tables.contradictions(),
            "ends": self._tables.statuses(),
        }


class Survivor:
    """A process that lives as long as the faults of a scenario last, and goes on where others have died."""

    def __init__(self, instance: Instance, scenario: Scenario) -> None:
        questions, self._questions = os.pipe()
        self._answers, answers = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._questions)
            try:
                instance.wake()
                _answer(instance, scenario, questions, answers)
            finally:
                os._exit(0)
        os.close(questions)
        os.close(answers)
        self._reading = os.fdopen(self._answers)

    def go_on(self) -> str:
        """Go on after a death; what was wrong, or nothing."""
        return self._ask(None)

    def live_without_answer(self, point: Point) -> str:
        """Live through the scenario, with the answer lost at this point; what was wrong, or nothing."""
        return self._ask(point)

    def close(self) -> None:
        """End the process."""
        os.close(self._questions)
        self._reading.close()
        _end_of(self._child)

    def _ask(self, point: Point | None) -> str:
        os.write(self._questions, (json.dumps(point and vars(point)) + "\n").encode())
        answer = self._reading.readline()
        return str(json.loads(answer)) if answer else "the process that went on has hung"


def _answer(instance: Instance, scenario: Scenario, questions: int, answers: int) -> None:
    for question in os.fdopen(questions):
        asked = json.loads(question)
        point = None if asked is None else Point(**asked)
        play = (
            partial(scenario.go_on, instance) if point is None else partial(scenario.live_without_an_answer, instance)
        )
        signal.alarm(LONGEST_RUN_SECONDS)
        wrong = ""
        try:
            instance.points.begin(lost=point)
            instance.wire()
            play()
            if point is not None and point not in instance.points.reached:
                wrong = "no answer was lost"
            if instance.points.unbroken:
                wrong = f"the proxy has not lost the answer to {instance.points.unbroken}"
        except BaseException:  # noqa: BLE001 - whatever it is, the stage is told
            wrong = traceback.format_exc()
        signal.alarm(0)
        os.write(answers, (json.dumps(wrong) + "\n").encode())


def _end_of(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _difference(expected: History, found: History) -> str:
    lines = []
    for part, wanted in expected.items():
        got = found[part]
        if part in MAY_BE_MORE:
            got = [one for one in got if one in wanted]
        if wanted != got:
            wanted, got = (sorted(one.items()) if isinstance(one, dict) else one for one in (wanted, got))  # noqa: PLW2901
            lines.append(f"{part}: {len(wanted)} undisturbed, {len(got)} after the fault")
            lines += [f"  - {one}" for one in wanted if one not in got]
            lines += [f"  + {one}" for one in got if one not in wanted]
    return "\n".join(lines)


def main() -> None:
    """Play the scenarios whose names come in, one a line, and say what came out, one JSON line each."""
    logging.disable()
    _, url, fault = sys.argv
    with tempfile.TemporaryDirectory() as folder, postgres_proxy(url) as proxied_url:
        stage = Stage(url, proxied_url, Path(folder))
        for line in sys.stdin:
            print(json.dumps(asdict(stage.play(SCENARIOS[line.strip()], Fault(fault)))), flush=True)


if __name__ == "__main__":
    main()
