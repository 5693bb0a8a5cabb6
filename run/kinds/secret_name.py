"""How a workflow names a secret, which it never writes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class SecretName(BaseModel):
    """`{secret: NAME}`; the value is read when it is needed: `clients.secrets.value(config.password.secret)`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,254}$")


def _not_written(value: Any) -> Any:
    if isinstance(value, str):
        # The value itself may be a secret, so it is not repeated.
        raise ValueError("name the secret as {secret: NAME} instead of writing it")  # noqa: TRY004 - pydantic's way
    return value


#: For a key that must be a secret.
Secret = Annotated[SecretName, BeforeValidator(_not_written)]
