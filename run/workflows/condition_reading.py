"""What a condition reads, and what it may not do although it is CEL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from run.workflows.condition_syntax import COLLECTED, Call, Constant, Field, Items, Loop, Name, Node, parts_of
from run.workflows.patterns import FilePattern, InvalidPattern

#: The two mappings; of each, a condition says which members it reads.
ROOTS = ("params", "results")
#: What type(...) may be compared with.
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_LOOPS = "exists, exists_one, all, filter and map"


@dataclass(frozen=True)
class Use:
    """A name at a place of the condition, from 0."""

    at: int
    name: str


@dataclass
class Reading:
    """What a condition uses, in the order of its text."""

    #: Every name that stands alone, without the variables of loops.
    names: list[Use] = field(default_factory=list)
    params: list[Use] = field(default_factory=list)
    results: list[Use] = field(default_factory=list)
    #: Of params and results, the members that a loop may look at as a whole in each turn, or that a costly one does.
    repeated: dict[str, set[str]] = field(default_factory=lambda: {root: set() for root in ROOTS})
    #: What no condition may do: the place and the reason.
    faults: list[tuple[int, str]] = field(default_factory=list)
    #: Whether this part is what a costly loop goes through.
    _is_costly: bool = False

    def walk(self, node: Node, variables: frozenset[str] = frozenset()) -> None:
        """Note what this part uses; `variables` are those of the loops around it."""
        if (member := _member(node)) is not None:
            self._note_member(*member, is_repeated=self._is_costly or bool(variables))
            return
        match node:
            case Name(at, name):
                self._note_name(at, name, variables)
            case Field(of=of):
                self.walk(of, variables)
            case Call() if (added := _collected(node)) is not None:
                self._walk_all(added, variables)
            case Call():
                self._check_call(node, variables)
                self._walk_all(node.args, variables)
            case Items():
                self._check_items(node, variables)
                self._walk_all(node.members, variables)
            case Loop():
                self._walk_loop(node, variables)

    def _walk_all(self, nodes: tuple[Node, ...], variables: frozenset[str]) -> None:
        for node in nodes:
            self.walk(node, variables)

    def _walk_loop(self, loop: Loop, variables: frozenset[str]) -> None:
        if loop.variable in (*ROOTS, "batch_id"):
            self.faults.append((loop.at, f"a variable of {_LOOPS} may not be called '{loop.variable}'"))
        was_costly, self._is_costly = self._is_costly, self._is_costly or _is_costly(loop.step)
        self.walk(loop.over, variables)
        self._is_costly = was_costly
        self.walk(loop.step, variables | {loop.variable, COLLECTED})

    def _note_name(self, at: int, name: str, variables: frozenset[str]) -> None:
        if name in ROOTS:
            self.names.append(Use(at, name))
            example = "params.NAME" if name == "params" else "results.TASK"
            self.faults.append((at, f"'{name}' cannot be used as a whole; write {example}"))
        elif name not in variables and name not in _TYPES:
            self.names.append(Use(at, name))

    def _note_member(self, root: Name, member: str, *, is_repeated: bool) -> None:
        self.names.append(Use(root.at, root.name))
        uses = self.params if root.name == "params" else self.results
        uses.append(Use(root.at, member))
        if is_repeated:
            self.repeated[root.name].add(member)

    def _check_call(self, call: Call, variables: frozenset[str]) -> None:
        # What is built in a loop could double with each turn; numbers that are counted there are COLLECTED.
        is_counting = isinstance(call.args[0], Name) and call.args[0].name == COLLECTED if call.args else False
        if call.function == "_+_" and variables and not is_counting:
            self.faults.append((call.at, f"'+' cannot stand inside {_LOOPS}, where it could build without end"))
        if call.function == "matches" and call.args:
            self._check_pattern(call.args[-1])

    def _check_pattern(self, pattern: Node) -> None:
        if not isinstance(pattern, Constant) or pattern.text is None:
            self.faults.append((pattern.at, "the pattern of matches(...) is written in the condition, as a text"))
        elif reason := _problem_of_pattern(pattern.text):
            self.faults.append((pattern.at, f"{pattern.text!r:.60} is no regular expression that RE2 takes: {reason}"))

    def _check_items(self, items: Items, variables: frozenset[str]) -> None:
        if items.message:
            self.faults.append((items.at, f"'{items.message}' cannot be made here"))
        elif any(one.name in variables for one in _names_in(items)):
            reason = f"a list or mapping inside {_LOOPS} cannot hold their variable, with which it could grow"
            self.faults.append((items.at, reason))


def _member(node: Node) -> tuple[Name, str] | None:
    """The mapping and the key when exactly one member of it is used: root.key, root["key"], "key" in root."""
    match node:
        case Field(of=Name(name=name) as root, field=key) if name in ROOTS:
            return root, key
        case (
            Call(function="_[_]", args=(Name(name=name) as root, Constant(text=str(key))))
            | Call(function="@in", args=(Constant(text=str(key)), Name(name=name) as root))
        ) if name in ROOTS:
            return root, key
    return None


def _names_in(node: Node) -> Iterator[Name]:
    return (part for part in parts_of(node) if isinstance(part, Name))


def _is_costly(step: Node) -> bool:
    """Whether a loop takes more time or memory than it goes through: another one is inside, or it makes a list."""
    # The library makes the list of map and filter anew in each turn, and keeps all of them until the end.
    return any(isinstance(part, Loop) or _collected(part) is not None for part in parts_of(step))


def _collected(node: Node) -> tuple[Node, ...] | None:
    """What map or filter adds to its list in a turn; nobody has written the list that it is in."""
    match node:
        case Call(function="_+_", args=(Name(name=name), Items(members=added))) if name == COLLECTED:
            return added
    return None


def _problem_of_pattern(pattern: str) -> str | None:
    try:
        FilePattern(pattern, {}, {})
    except InvalidPattern as error:
        return str(error)
    return None
