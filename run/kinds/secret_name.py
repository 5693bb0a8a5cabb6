"""A key of a kind that must be a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from run.workflows.secret_name import SecretName

__all__ = ["Secret", "SecretName"]


def _not_written(value: Any) -> Any:
    if not isinstance(value, Mapping | SecretName):
        # The value itself may be a secret, so it is not repeated.
        raise ValueError("name the secret as {secret: NAME} instead of writing it")  # noqa: TRY004 - pydantic's way
    return value


#: For a key that must be a secret.
Secret = Annotated[SecretName, BeforeValidator(_not_written)]
