"""How results flow: what a function is called with, from its preset arguments and the results of its parents.

The same rules serve a Process and the tasks of the service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any

from run.workflows.definition import TriggerRule
from run.workflows.problems import did_you_mean
from run.workflows.trigger_rules import STARTS_EARLY


@dataclass(frozen=True)
class Passing:
    """Whose results a task gets: as further positional arguments, in this order, and by keyword."""

    as_args: Sequence[str] = ()
    #: The parent by the keyword that its result is passed as.
    as_kwargs: Mapping[str, str] = field(default_factory=dict)

    @property
    def parents(self) -> frozenset[str]:
        """The tasks whose results are passed."""
        return frozenset([*self.as_args, *self.as_kwargs.values()])

    def problems(self, needs: Collection[str], rule: TriggerRule) -> Iterator[tuple[str, str]]:
        """Yield (where, reason) for what is wrong; where is `as_args` or `as_kwargs.KEYWORD`."""
        known = frozenset(needs)
        for parent, count in Counter(self.as_args).items():
            if count > 1:
                yield "as_args", f"passes the result of '{parent}' {count} times"
            yield from _of_parent("as_args", parent, known, rule)
        for keyword, parent in self.as_kwargs.items():
            where = f"as_kwargs.{keyword}"
            if reason := problem_of_keyword(keyword):
                yield where, reason
            yield from _of_parent(where, parent, known, rule)


def effective_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], passing: Passing, results: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that a task's function is called with, all of them its own to change.

    `results` has the parents that succeeded. One that did not is None as a positional argument, so that the others
    keep their places; as a keyword it leaves the preset value, or the default of the function.
    """
    appended = [results.get(parent) for parent in passing.as_args]
    overriding = {keyword: results[parent] for keyword, parent in passing.as_kwargs.items() if parent in results}
    return tuple(own_copy([*args, *appended])), own_copy({**kwargs, **overriding})


def own_copy(value: Any) -> Any:
    """Lists, mappings, tuples and sets anew, at any depth; anything else, such as a connection, is shared."""
    kind = type(value)
    if kind is dict:
        return {key: own_copy(member) for key, member in value.items()}
    if kind in {list, tuple}:
        return kind(own_copy(member) for member in value)
    return set(value) if kind is set else value


def problem_of_parent(parent: str, needs: Collection[str], rule: TriggerRule, verb: str = "reads") -> str | None:
    """Why a task with these parents and this rule cannot have the result of that one; None when it can."""
    if parent not in needs:
        return f"{verb} the result of '{parent}', which the task does not need{did_you_mean(parent, needs)}"
    if rule in STARTS_EARLY:
        return f"{verb} the result of '{parent}', for which the rule {rule} does not wait"
    return None


def problem_of_keyword(keyword: str) -> str | None:
    """Why no result can be passed by this keyword; None when one can."""
    if keyword.isidentifier() and not iskeyword(keyword):
        return None
    return f"'{keyword}' is no name of a parameter"


def _of_parent(where: str, parent: str, needs: Collection[str], rule: TriggerRule) -> Iterator[tuple[str, str]]:
    if reason := problem_of_parent(parent, needs, rule, verb="passes"):
        yield where, reason
