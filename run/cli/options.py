"""Options and arguments that several commands share."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass
from typing import Any

import click

from run.workflows.document import read_document

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most."
)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # In a container the user may have a number and no name.
        return f"uid {os.getuid()}"


actor_option = click.option(
    "--actor", default=_os_user, show_default="the OS user", help="Who does this, for the audit."
)


@dataclass(frozen=True)
class ObjectAddress:
    """An object in Cloud Storage."""

    bucket: str
    name: str

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.name}"


class AddressType(click.ParamType[ObjectAddress]):
    """`gs://bucket/object`."""

    name = "gs://bucket/object"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ObjectAddress:
        found = re.fullmatch(r"gs://([^/\s]+)/(.+)", str(value), re.DOTALL)
        if found is None:
            self.fail(f"{value!r} is no address such as gs://bucket/folder/file.csv", param, ctx)
        return ObjectAddress(found[1], found[2])


class ParamValueType(click.ParamType[tuple[str, Any]]):
    """`name=value`, the value read as YAML, as in a workflow file."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, equals, written = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not of the form name=value", param, ctx)
        if not written.strip():
            return name, written
        document = read_document(written)
        if document.problems:
            self.fail(f"{name}: {document.problems[0].reason}", param, ctx)
        return name, document.data
