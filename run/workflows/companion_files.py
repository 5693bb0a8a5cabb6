"""Files that a workflow file refers to, such as SQL too long for YAML."""

from __future__ import annotations

from pathlib import Path


def read_companion(folder: Path | None, name: str) -> str:
    """The text of a file beside the workflow file or in a folder below it.

    `folder` is the workflow file's, None for a workflow without one. Raises ValueError with a reason for people, as
    pydantic's validators do, when the file is elsewhere or cannot be read.
    """
    if folder is None:
        raise ValueError(f"'{name}' needs a workflow file to lie beside")
    path = (folder / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise ValueError(f"'{name}' leaves the folder of the workflow file; put it there or below")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"'{name}' is not beside the workflow file") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"'{name}' cannot be read as text: {error}") from None
