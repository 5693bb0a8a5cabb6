"""What does the work of the tasks in the model's world: it answers as the test says, dies, or stands still."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from run.errors import PassingFailure, PermanentFailure, Unavailable
from run.kinds.kind import AwaitsCompletion, Finished, GoesOn, Kind, KindConfig, Progress, Work
from tests.model.attempts import POLL_AFTER, Does


class WorkerDied(BaseException):
    """What no part of the service catches, as nothing catches SIGKILL."""


class Frozen(threading.Thread):
    """A worker that stands still in the middle of its work, until it is woken or its process has died."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._changed = threading.Event()
        self._woken = threading.Event()
        self._does = Does.DIES
        self._stands = False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for it
            self._error = error
        finally:
            self._stands = False
            self._changed.set()

    def stands_still(self) -> bool:
        """Let it begin; whether it then stands still, because there was work to do."""
        self.start()
        self._changed.wait()
        if not self._stands:
            self.wait()
        return self._stands

    def stand_still(self) -> Does:
        """What the work becomes, once that is known; its worker calls this."""
        self._stands = True
        self._changed.set()
        self._woken.wait()
        return self._does

    def wake(self, does: Does) -> None:
        """Let it end its work like this."""
        self._does = does
        self._woken.set()

    def wait(self) -> None:
        """Wait until it has ended."""
        self.join()
        if self._error is not None and not isinstance(self._error, WorkerDied):
            raise self._error


class Answers:
    """What becomes of the work of each task, and whether the end of what was begun outside is confirmed."""

    def __init__(self) -> None:
        self.does: Callable[[str, str], Does] = lambda _batch, _task: Does.SUCCEEDS
        self.confirms = True
        #: How often the work of an attempt was begun or gone on with: (batch, task, attempt).
        self.begun: Counter[tuple[str, str, int]] = Counter()

    def answer(self, work: Work) -> Does:
        self.begun[work.batch_id, work.task, work.attempt] += 1
        does = self.does(work.batch_id, work.task)
        worker = threading.current_thread()
        return worker.stand_still() if does is Does.FREEZES and isinstance(worker, Frozen) else does


class NotedConfig(KindConfig):
    note: str = ""


class Plain(Kind[NotedConfig]):
    """Does its work itself, or begins it outside and asks for it."""

    name = "plain"
    config = NotedConfig
    #: What success looks like.
    done: Progress = Finished()
    goes_on: Progress = GoesOn({"job": 1}, poll_after=POLL_AFTER)

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def start(self, config: NotedConfig, work: Work) -> Progress:
        match self._answers.answer(work):
            case Does.SUCCEEDS:
                return self.done
            case Does.GOES_ON:
                return self.goes_on
            case Does.FAILS:
                raise PermanentFailure("it failed")
            case Does.FAILS_IN_PASSING:
                raise PassingFailure("it failed, for now")
            case Does.HEARS_NOTHING:
                raise Unavailable("nobody answers")
            case _:
                raise WorkerDied

    def poll(self, config: NotedConfig, work: Work, handle: Mapping[str, Any]) -> Progress:
        assert handle == {"job": 1}
        return self.start(config, work)

    def cancel(self, config: NotedConfig, work: Work, handle: Mapping[str, Any] | None) -> bool:
        return self._answers.confirms


class HandedOver(Plain):
    """Hands its work over to somebody who says with a message that it is done."""

    name = "handed_over"
    done = AwaitsCompletion()
    goes_on = AwaitsCompletion()

    def awaits_completion(self, config: NotedConfig) -> bool:
        return True
