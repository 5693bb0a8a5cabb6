"""A parsed condition as a tree: the part of CEL's syntax that tells what a condition reads.

The library gives its tree in the format of the CEL project: `cel.expr.ParsedExpr`, in protobuf's encoding. Protobuf's
own reader would bring Google's packages into definitions, for a dozen fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """A part of a condition; `at` is the place of its first sign, from 0, or that of its operator."""

    at: int


@dataclass(frozen=True)
class Constant(Node):
    """A literal; `text` is None for all but texts."""

    text: str | None


@dataclass(frozen=True)
class Name(Node):
    """A name that stands alone."""

    name: str


@dataclass(frozen=True)
class Field(Node):
    """`of.field`, or has(of.field)."""

    of: Node
    field: str


@dataclass(frozen=True)
class Call(Node):
    """A function or an operator; what stands before the dot of a method is the first of its `args`."""

    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True)
class Items(Node):
    """A list or a mapping written out; `message` names what is in front of a mapping's brace."""

    members: tuple[Node, ...]
    message: str


@dataclass(frozen=True)
class Loop(Node):
    """exists, all, exists_one, filter or map: `step` is done for each element of `over`, which it calls `variable`."""

    variable: str
    over: Node
    step: Node


#: What a loop calls the value that it collects; nobody can write such a name.
COLLECTED = "@result"

_Fields = Mapping[int, Sequence[Any]]


def read_tree(serialized: bytes) -> Node:
    """The tree in a serialized `google.protobuf.Any` of a `cel.expr.ParsedExpr`."""
    parsed = _fields(_fields(serialized)[2][0])
    source = _fields(parsed[3][0])
    positions = {}
    for entry in source.get(4, ()):
        pair = _fields(entry)
        positions[pair[1][0]] = _first(pair, 2, 0)
    return _node(parsed[2][0], positions)


def parts_of(node: Node) -> Iterator[Node]:
    """The node itself and every one below it."""
    yield node
    below: tuple[Node, ...] = ()
    match node:
        case Field(of=of):
            below = (of,)
        case Call(args=below) | Items(members=below):
            pass
        case Loop(over=over, step=step):
            below = (over, step)
    for child in below:
        yield from parts_of(child)


def _node(data: bytes, positions: Mapping[int, int]) -> Node:
    expression = _fields(data)
    at = positions.get(_first(expression, 2, 0), 0)
    kind = next(number for number in expression if number in _READERS)
    return _READERS[kind](_fields(expression[kind][0]), at, positions)


def _below(part: _Fields, number: int, positions: Mapping[int, int]) -> tuple[Node, ...]:
    return tuple(_node(child, positions) for child in part.get(number, ()))


def _constant(part: _Fields, at: int, _: Mapping[int, int]) -> Node:
    return Constant(at, _text(part, 6) if 6 in part else None)  # noqa: PLR2004 - the number of this field.


def _name(part: _Fields, at: int, _: Mapping[int, int]) -> Node:
    return Name(at, _text(part, 1).removeprefix("."))


def _field(part: _Fields, at: int, positions: Mapping[int, int]) -> Node:
    return Field(at, _below(part, 1, positions)[0], _text(part, 2))


def _call(part: _Fields, at: int, positions: Mapping[int, int]) -> Node:
    return Call(at, _text(part, 2), (*_below(part, 1, positions), *_below(part, 3, positions)))


def _list(part: _Fields, at: int, positions: Mapping[int, int]) -> Node:
    return Items(at, _below(part, 1, positions), "")


def _mapping(part: _Fields, at: int, positions: Mapping[int, int]) -> Node:
    entries = [_fields(entry) for entry in part.get(2, ())]
    members = [node for entry in entries for number in (3, 4) for node in _below(entry, number, positions)]
    return Items(at, tuple(members), _text(part, 1))


def _loop(part: _Fields, at: int, positions: Mapping[int, int]) -> Node:
    return Loop(at, _text(part, 1), _below(part, 2, positions)[0], _below(part, 6, positions)[0])


#: By the number of the field that says what an expression is.
_READERS: Mapping[int, Callable[[_Fields, int, Mapping[int, int]], Node]] = {
    3: _constant,
    4: _name,
    5: _field,
    6: _call,
    7: _list,
    8: _mapping,
    9: _loop,
}


def _text(fields: _Fields, number: int) -> str:
    text: bytes = _first(fields, number, b"")
    return text.decode()


def _first(fields: _Fields, number: int, default: Any) -> Any:
    return fields[number][0] if number in fields else default


def _fields(data: bytes) -> _Fields:
    """The fields of one message by their numbers, each as often as it is there."""
    found: defaultdict[int, list[Any]] = defaultdict(list)
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        match wire_type:
            case 0:
                value, position = _varint(data, position)
                found[number].append(value)
                continue
            case 1:
                size = 8
            case 5:
                size = 4
            case _:
                size, position = _varint(data, position)
        found[number].append(data[position : position + size])
        position += size
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows.
            return value, position
        shift += 7
