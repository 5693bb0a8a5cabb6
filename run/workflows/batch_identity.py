"""Which batch a trigger belongs to: the batch id made from a template, and the values read back from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

import re2

from run.workflows.dates import ISO, problem_of_format, read_date, write_date
from run.workflows.templates import NameType, NameUse, TemplateError, Value, all_names_in, written

#: The template of a workflow that says nothing: every trigger opens a batch of its own.
DEFAULT_BATCH = "Batch_{today:%Y%m%d}_{number}"
#: `today` is the UTC day of the trigger; `number` counts that day's batches: "001", "002".
BUILT_IN: Mapping[str, NameType] = {"today": NameType.DATE, "number": NameType.TEXT}
#: A batch id longer than this fits neither a job id nor a line of text.
LONGEST_BATCH_ID = 200

_NUMBER = "[0-9]{3,}"
_ANY_TEXT = ".+?"
_WIDTHS = {"Y": 4, "G": 4, "j": 3} | dict.fromkeys("mdyVHMS", 2) | dict.fromkeys("uw", 1)
# Values are read back from several uses of one name at once; no date contains this character.
_BETWEEN = "\x1f"
_A_DAY = date(2024, 7, 16)


class BatchTemplate:
    """The template of a workflow's batch ids; a name with a format is a date, every other one but `today` a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._uses = all_names_in(text)
        self._formats = self._formats_by_name()
        self._expression = re2.compile("(?s)" + "".join(self._with_uses(re2.escape, self._group)), _quiet())

    @property
    def names(self) -> Mapping[str, NameType]:
        """The names in the template, and what each stands for."""
        types = {use.name: NameType.TEXT for use in self._uses}
        return types | dict.fromkeys(self._formats, NameType.DATE) | {k: t for k, t in BUILT_IN.items() if k in types}

    @property
    def is_fresh(self) -> bool:
        """Whether every trigger opens a batch of its own."""
        return "number" in self.names

    def render(self, values: Mapping[str, Value]) -> str:
        """The batch id of these values; names that the template does not use are ignored.

        Raises TemplateError when a value is missing, or the id would be read back as other values: then two
        different triggers would meet in one batch.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            raise TemplateError(f"the batch id '{self.text}' needs a value for '{missing[0]}'")
        batch_id = "".join(self._fragments(values))
        self._refuse_unless_read_back(batch_id, values)
        return batch_id

    def values_of(self, batch_id: str) -> dict[str, Value] | None:
        """The values that this batch id stands for, as `render` takes them; None when it is not of this template."""
        found = self._expression.fullmatch(batch_id) if len(batch_id) <= LONGEST_BATCH_ID else None
        if found is None:
            return None
        texts: defaultdict[str, list[str]] = defaultdict(list)
        for use, text in zip(self._uses, found.groups(), strict=True):
            texts[use.name].append(text)
        try:
            values = {name: self._value(name, parts) for name, parts in texts.items()}
            return values if "".join(self._fragments(values)) == batch_id else None
        except ValueError:
            return None

    def problems(self) -> Iterator[str]:
        """Yield why this template cannot name batches."""
        if not self.text or self.text != self.text.strip() or not self.text.isprintable():
            yield "a batch id is printable text without blanks around it"
        if "{" in self._literals() or "}" in self._literals():
            yield "a batch id has no braces but those of names such as {period} or {period:%Y-%m}, in lower case"
        if self.is_fresh and not self._tells_the_day():
            yield "'{number}' counts the batches of one day; write it beside a whole day such as {today:%Y%m%d}"
        yield from self._problems_of_formats()
        for before, after in zip(self._uses, self._uses[1:], strict=False):
            if before.end == after.start and not (_fixed(before) or _fixed(after)):
                yield f"'{{{before.name}}}' and '{{{after.name}}}' need a text between them, or ids are ambiguous"

    def _problems_of_formats(self) -> Iterator[str]:
        for name, formats in self._formats.items():
            if BUILT_IN.get(name) is NameType.TEXT:
                yield f"'{name}' is text and takes no format; write {{{name}}}"
            elif reason := problem_of_format(_BETWEEN.join(formats)):
                yield f"'{name}': {reason.replace(_BETWEEN, ' ')}"

    def _literals(self) -> str:
        return "".join(self._with_uses(lambda text: text, lambda _use: ""))

    def _tells_the_day(self) -> bool:
        pattern = _BETWEEN.join(self._formats.get("today", []))
        try:
            return read_date(write_date(_A_DAY, pattern), pattern) == _A_DAY
        except ValueError:
            return False

    def _formats_by_name(self) -> dict[str, list[str]]:
        dates = {use.name for use in self._uses if use.format is not None}
        dates |= {use.name for use in self._uses if BUILT_IN.get(use.name) is NameType.DATE}
        formats: defaultdict[str, list[str]] = defaultdict(list)
        for use in self._uses:
            if use.name in dates:
                formats[use.name].append(ISO if use.format is None else use.format)
        return dict(formats)

    def _with_uses(self, literal: Callable[[str], str], value: Callable[[NameUse], str]) -> Iterator[str]:
        position = 0
        for use in self._uses:
            yield literal(self.text[position : use.start])
            yield value(use)
            position = use.end
        yield literal(self.text[position:])

    def _group(self, use: NameUse) -> str:
        if use.name == "number":
            return f"({_NUMBER})"
        if use.name not in self._formats:
            return f"({_ANY_TEXT})"
        return f"({_date_expression(ISO if use.format is None else use.format)})"

    def _fragments(self, values: Mapping[str, Value]) -> Iterator[str]:
        return self._with_uses(lambda text: text, lambda use: written(values[use.name], use))

    def _value(self, name: str, texts: list[str]) -> Value:
        if name not in self._formats:
            return texts[0]
        return read_date(_BETWEEN.join(texts), _BETWEEN.join(self._formats[name]))

    def _refuse_unless_read_back(self, batch_id: str, values: Mapping[str, Value]) -> None:
        back = self.values_of(batch_id) or {}
        for name in self.names:
            if name not in back or (not isinstance(back[name], date) and back[name] != values[name]):
                raise TemplateError(
                    f"'{name}' is {str(values[name])!r}, which a batch id of the form '{self.text}' cannot hold"
                )


def _date_expression(pattern: str) -> str:
    expression = ""
    rest = iter(pattern)
    for character in rest:
        if character != "%":
            expression += re2.escape(character)
            continue
        directive = next(rest, "")
        width = _WIDTHS.get(directive)
        expression += f"[0-9]{{{width}}}" if width else "%" if directive == "%" else _ANY_TEXT
    return expression


def _fixed(use: NameUse) -> bool:
    pattern = use.format if use.format is not None else ISO if use.name == "today" else None
    return pattern is not None and _ANY_TEXT not in _date_expression(pattern)


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options
