"""How a workflow names a secret, which it never writes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

NAME = r"[A-Za-z][A-Za-z0-9_-]{0,254}"
#: Of a name that is none. Somebody may have written the secret itself there, so it is not repeated.
NO_NAME = "must be the name of a secret: a letter, and then letters, digits, '_' and '-'"


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(NAME, value):
        return value
    raise ValueError(NO_NAME)


class SecretName(BaseModel):
    """`{secret: NAME}`; the value is read when it is needed: `clients.secrets.value(config.password.secret)`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: Annotated[str, BeforeValidator(_name)]
