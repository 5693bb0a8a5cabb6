"""Where a task puts a file that comes of another: a template that knows the names of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from run.errors import PermanentFailure
from run.kinds.bigquery_names import strict_template_problems
from run.kinds.kind import ObjectVersion
from run.workflows.scope import Scope
from run.workflows.templates import NameType, TemplateError, Value, all_names_in, render

#: What a template of a place knows beside the names of its task.
FILE_NAMES = dict.fromkeys(("file_task", "file_name", "file_path", "file_stem", "generation"), NameType.TEXT)
#: What tells the files of one task apart.
OF_EACH_FILE = {"file_name", "file_path", "file_stem"}
_MOST_NAME_BYTES = 1024


def problems_of_place(to: str, scope: Scope, example: str) -> Iterator[str]:
    """Yield what keeps the template from being a place of its own for every batch."""
    yield from strict_template_problems(to, {**scope.names, **FILE_NAMES})
    if not to.startswith("gs://") or "/" not in to.removeprefix("gs://").strip("/"):
        yield f"is a whole address, such as '{example}'"
    used = {use.name for use in all_names_in(to)}
    if not used & {"generation", "batch_id"} and not (scope.batch_names and used.issuperset(scope.batch_names)):
        yield "gives the files of different batches one place; use batch_id or generation in it"


def place_of(to: str, values: Mapping[str, Value], task: str, landed: ObjectVersion) -> tuple[str, str]:
    """The bucket and name for the file that `task` has; raises PermanentFailure when it is no place for one."""
    path = PurePosixPath(landed.name)
    own = {
        "file_task": task,
        "file_name": path.name,
        "file_path": landed.name,
        "file_stem": path.name.partition(".")[0],
        "generation": str(landed.generation),
    }
    try:
        uri = render(to, {**values, **own})
    except TemplateError as error:
        raise PermanentFailure(str(error)) from error
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name or name.endswith("/") or "//" in name or "*" in name:
        raise PermanentFailure(f"'{uri}' is no place for a file; write gs://bucket/name, without '//' and '*'")
    if len(name.encode()) > _MOST_NAME_BYTES:
        raise PermanentFailure(f"'{uri}' is too long: a name has at most {_MOST_NAME_BYTES} bytes")
    return bucket, name
