"""Conditions: the `when` of a task, in the Common Expression Language (CEL)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from run.errors import ConditionError
from run.workflows.arguments import problem_of_parent
from run.workflows.condition_reading import ROOTS, Reading
from run.workflows.condition_sentences import findings_of_parser, reason_of_evaluation, type_in_words
from run.workflows.condition_syntax import read_tree
from run.workflows.condition_values import MOST_WEIGHT_IN_LOOPS, own_values
from run.workflows.dates import ISO, write_date
from run.workflows.problems import did_you_mean
from run.workflows.scope import Scope
from run.workflows.templates import Value

#: The library stops at 32 levels and 10,000 elements by itself.
MOST_SIGNS = 1_000


class Condition:
    """A condition over `params`, `results`, `batch_id` and the names of the batch; any text makes one, sound or not.

    It is read once and may be evaluated by several threads. A sound one takes some 0.1 ms to read, less to evaluate.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._reading = Reading()
        self._expression: Any = None
        #: Why the text is no condition, whatever the workflow around it; empty when it is one.
        self._faults: list[str] = []
        self._read()

    def names(self) -> frozenset[str]:
        """The names that it uses, such as `params` and `batch_id`."""
        return frozenset(use.name for use in self._reading.names)

    def results_read(self) -> frozenset[str]:
        """The parents whose results it asks for; `holds` needs no others."""
        return frozenset(use.name for use in self._reading.results)

    def problems(self, scope: Scope | None) -> Iterator[str]:
        """Yield what is wrong with it in its workflow; without a scope, what is wrong with it anywhere."""
        yield from self._faults
        if self._faults or scope is None:
            return
        known = [*ROOTS, "batch_id", *scope.batch_names]
        found = [*self._unknown_names(known), *self._unknown_params(scope), *self._unreadable_results(scope)]
        yield from found or self._mistyped(known)

    def holds(self, params: Mapping[str, Any], results: Mapping[str, Any], names: Mapping[str, Value]) -> bool:
        """Whether the task is to be done.

        `results` has the results of the parents that succeeded, of which None is none; `names` has batch_id and the
        names of the batch. Params and results are JSON values.
        Raises ConditionError, and is never false, when that cannot be said.
        """
        if self._faults:
            raise self._error(f"cannot be read: {self._faults[0]}")
        try:
            value = self._expression.eval(data=self._data(params, results, names))
        except (ValueError, RuntimeError, TypeError) as error:
            raise self._error(f"cannot be evaluated: {reason_of_evaluation(str(error))}") from None
        kind = value.type().name()
        if kind == "ERROR":
            raise self._error(f"cannot be evaluated: {reason_of_evaluation(value.value())}")
        if kind != "BOOL":
            raise self._error(f"must be true or false, and is: {type_in_words(kind)}")
        return bool(value.value())

    @property
    def not_met(self) -> str:
        """Why a task is SKIPPED whose condition is false."""
        return f"its condition is false: {self._shown}"

    @cached_property
    def _shown(self) -> str:
        return f"{' '.join(self.text.split()):.300}"

    def _error(self, reason: str) -> ConditionError:
        return ConditionError(f"the condition `{self._shown}` {reason}")

    def _read(self) -> None:
        if len(self.text) > MOST_SIGNS:
            self._faults.append(f"a condition has at most {MOST_SIGNS:,} signs, this one {len(self.text):,}")
        elif any("\ud800" <= sign <= "\udfff" for sign in self.text):
            self._faults.append("half of a surrogate pair is no text")
        else:
            try:
                self._expression = _environment().compile(self.text, disable_check=True)
            except RuntimeError as error:
                # What follows the first mistake is mostly because of it.
                self._faults += self._sentences(str(error))[:1]
            else:
                self._reading.walk(read_tree(self._expression.serialize()))
                self._faults += [f"{self._place(at)}: {reason}" for at, reason in self._reading.faults]

    def _unknown_names(self, known: Iterable[str]) -> Iterator[str]:
        for use in self._reading.names:
            if use.name not in known:
                more = did_you_mean(use.name, known) or f"; known are {', '.join(known)}"
                yield f"{self._place(use.at)}: there is no '{use.name}' here{more}"

    def _unknown_params(self, scope: Scope) -> Iterator[str]:
        for use in self._reading.params:
            if use.name not in scope.param_names:
                hint = did_you_mean(use.name, scope.param_names)
                yield f"{self._place(use.at)}: the workflow has no param '{use.name}'{hint}"

    def _unreadable_results(self, scope: Scope) -> Iterator[str]:
        for use in self._reading.results:
            if reason := problem_of_parent(use.name, scope.needs, scope.rule):
                yield f"{self._place(use.at)}: it {reason}"

    def _mistyped(self, known: Iterable[str]) -> Iterator[str]:
        """What the library's checker says: unknown functions, types that do not go together, no truth value."""
        try:
            checked = _environment(*known).compile(self.text)
        except RuntimeError as error:
            yield from self._sentences(str(error))
            return
        kind = checked.return_type().name()
        if kind not in {"BOOL", "DYN"}:
            yield f"it must be true or false, and is: {type_in_words(kind)}"

    def _sentences(self, message: str) -> list[str]:
        found = findings_of_parser(message)
        told = (f"{self._words_of(line, sign)}: {reason}" if line else reason for line, sign, reason in found)
        return list(dict.fromkeys(told))

    def _place(self, at: int) -> str:
        before = self.text[:at]
        return self._words_of(before.count("\n") + 1, at - before.rfind("\n"))

    def _words_of(self, line: int, sign: int) -> str:
        return f"line {line}, sign {sign}" if "\n" in self.text.strip() else f"sign {sign}"

    def _data(
        self, params: Mapping[str, Any], results: Mapping[str, Any], names: Mapping[str, Value]
    ) -> dict[str, Any]:
        used = {use.name for use in self._reading.params}
        texts = {name: value if isinstance(value, str) else write_date(value, ISO) for name, value in names.items()}
        read = {
            "params": {name: value for name, value in params.items() if name in used},
            "results": {name: results[name] for name in self.results_read() if results.get(name) is not None},
        }
        repeated = self._reading.repeated
        own_values(
            {root: {name: of[name] for name in repeated[root] if name in of} for root, of in read.items()},
            MOST_WEIGHT_IN_LOOPS,
        )
        return {**texts, **own_values(read)}


@lru_cache
def _environment(*names: str) -> Any:
    from cel_expr_python import cel  # noqa: PLC0415  # Most processes never meet a condition; it takes 10 MB.

    of_json = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    typed = {name: of_json if name in ROOTS else cel.Type.STRING for name in names}
    return cel.NewEnv(variables=typed)
