"""What the CEL library finds wrong with a condition, in the words of somebody who writes a workflow file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

#: What CEL's types are called here.
TYPES = {
    "bool": "true or false",
    "bytes": "bytes",
    "double": "number with a fraction",
    "duration": "duration",
    "dyn": "any value",
    "int": "whole number",
    "int64": "whole number",
    "list": "list",
    "map": "mapping",
    "null": "null",
    "null_type": "null",
    "string": "text",
    "timestamp": "timestamp",
    "type": "type",
    "uint": "whole number (unsigned)",
    "uint64": "whole number (unsigned)",
}
_TOO_DEEP = "it is nested too deeply: 32 levels at most, to which long sums count as well"
_WORDS = {"and": "&&", "or": "||"}
_ERROR = re.compile(r"ERROR: [^\n]*?:(-?\d+):(-?\d+): (.*?)(?=\n |\nERROR: | \[INVALID_ARGUMENT\]|\Z)", re.DOTALL)


def findings_of_parser(message: str) -> Iterator[tuple[int, int, str]]:
    """Yield (line, sign, reason), from 1, for what the parser or the checker says; 0, 0 where it names no place."""
    if "recursion" in message:
        yield 0, 0, _TOO_DEEP
        return
    for line, sign, reason in _ERROR.findall(message) or [("0", "0", message)]:
        yield max(int(line), 0), max(int(sign), 0), _sentence(reason)


def reason_of_evaluation(message: str) -> str:
    """Why there is no value, from what the library says."""
    if "Iteration budget" in message:
        return "it goes through more than 10,000 elements"
    return _sentence(re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", message))


def type_in_words(name: str) -> str:
    """What a type is called, "list" for LIST<INT>."""
    plain = name.split("<", maxsplit=1)[0].lower()
    return TYPES.get(plain, plain)


def _sentence(reason: str) -> str:
    for pattern, sentence in _SENTENCES:
        if found := re.search(pattern, reason, re.DOTALL):
            return sentence(*found.groups())
    return " ".join(reason.split())


def _unexpected(given: str, *_: str) -> str:
    if given in _WORDS:
        return f"'{given}' is no operator; write {_WORDS[given]}"
    return "it ends too early" if given == "<EOF>" else f"'{given}' is not expected here"


def _unknown_sign(given: str) -> str:
    if given.startswith("="):
        return "'=' is no operator; write == to compare"
    if given[:1] in {'"', "'"}:
        return f"a text that begins with {given[0]} has no end on its line, or a '\\' in it that means nothing"
    return f"'{given.strip()}' is not expected here"


def _no_such_key(key: str) -> str:
    return f"there is no key {key}; has(...) asks whether there is one"


def _overload(operator: str, given: str) -> str:
    types = re.sub(r"\w+", lambda word: TYPES.get(word[0], word[0]), given)
    plain = operator.removeprefix("@") if operator[0] == "@" else operator
    plain = plain if re.match(r"[A-Za-z]", plain) else plain.replace("_", "")
    return f"'{plain}' does not go with ({types})"


_SENTENCES: Sequence[tuple[str, Callable[..., str]]] = [
    (r"mismatched input '(.*)' expecting", _unexpected),
    (r"extraneous input '(.*)' expecting", _unexpected),
    (r"no viable alternative at input '\.?(.*)'", _unexpected),
    (r"token recognition error at: '(.*)'?$", lambda given: _unknown_sign(given.removesuffix("'"))),
    (r"undeclared reference to '(.*)' \(in", lambda name: f"there is no function '{name}'"),
    (r"[Nn]o matching overload for '(.*)' applied to '\((.*)\)'", _overload),
    (r"No matching overloads found : \((\w+)\)\.(\w+)\(", lambda of, name: f"'{name}' does not go with ({_word(of)})"),
    (r"No matching overloads found : ([^\s(]+)\((.*)\)", _overload),
    (r"No matching overloads found : <jump_condition>", lambda: "what stands before '?' is not true or false"),
    (r"No matching overloads found : _(&&|\|\|)_", lambda operator: f"'{operator}' takes true and false only"),
    (r"Key not found in map : (.*)", _no_such_key),
    (r"SELECT to non-message", lambda: "it asks for a key of what is no mapping"),
    (r"Index error: index=(-?\d+) size=(\d+)", lambda index, size: f"a list of {size} has no element [{index}]"),
    (r"divide by zero|modulus by zero", lambda: "it divides by zero"),
    (r'No value with name "(.*)" found', lambda name: f"'{name}' has no value here"),
]


def _word(name: str) -> str:
    return TYPES.get(name, name)
