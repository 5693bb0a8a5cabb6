"""The keys of a task that calls a Python function, and how such a function is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from run.workflows.arguments import Passing, effective_arguments, own_copy, problem_of_keyword
from run.workflows.scope import Scope

#: The kind whose tasks call a function.
FUNCTION_KIND = "python_function"


class FunctionKeys(BaseModel):
    """What is called with what: the keys of a `python_function` task, written in YAML or made from a Task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `module:name`.
    function: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    #: The parents whose results are appended to `args`, in this order.
    results_as_args: list[str] = Field(default_factory=list)
    #: The parent whose result is passed by each keyword, instead of what `kwargs` says.
    results_as_kwargs: dict[str, str] = Field(default_factory=dict)
    #: The keyword that an element of a mapped task gets its item by, as it is.
    item_as: str | None = None

    @property
    def passing(self) -> Passing:
        """Whose results go where."""
        return Passing(self.results_as_args, self.results_as_kwargs)

    def effective(self, results: Mapping[str, Any], item: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call, with the results of the parents that succeeded, and the item of an element."""
        args, kwargs = effective_arguments(self.args, self.kwargs, self.passing, results)
        return args, kwargs if self.item_as is None else {**kwargs, self.item_as: own_copy(item)}

    def problems(self, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for results that the task cannot get."""
        for where, reason in self.passing.problems(scope.needs, scope.rule):
            yield f"results_{where}", reason
        if self.item_as is not None and (problem := self._problem_of_item(self.item_as, scope)):
            yield "item_as", problem

    def _problem_of_item(self, keyword: str, scope: Scope) -> str | None:
        if not scope.is_mapped:
            return "the task has no item, because it is not mapped; write map: and the parent whose list it is"
        if keyword in self.results_as_kwargs:
            return f"'{keyword}' is the keyword of the result of '{self.results_as_kwargs[keyword]}' already"
        return problem_of_keyword(keyword)


def reference_of(function: Callable[..., Any]) -> str:
    """`module:name` of a function that another process can import.

    Raises ValueError with a reason for people: a lambda, a nested function, a method, one of the script itself.
    """
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if name is None or module is None:
        raise ValueError(f"{function!r} is no function at the top of a module; write one that calls it")
    if "<lambda>" in name:
        raise ValueError("a lambda cannot be found by another process; give it a name at the top of a module")
    if "<locals>" in name:
        raise ValueError(f"'{name}' is inside another function, where no other process finds it; move it to the top")
    if module == "__main__":
        raise ValueError(f"'{name}' is in the script that runs, which cannot be imported; move it into a module")
    if getattr(sys.modules.get(module), name, None) is not function:
        raise ValueError(f"'{name}' is not what the module {module} has under this name")
    return f"{module}:{name}"
