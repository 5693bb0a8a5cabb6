"""Which tables the database has, and reading them without the right to change them."""

from __future__ import annotations

from sqlalchemy import Connection, text


def forbid_writing(tx: Connection) -> None:
    """Let the database refuse every change in this transaction; call it first."""
    tx.execute(text("SET TRANSACTION READ ONLY"))


_REVISION_TABLE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_REVISION = text("SELECT version_num FROM alembic_version")


def schema_revision(tx: Connection) -> str | None:
    """The migration that the database is at; None before the first."""
    if not tx.execute(_REVISION_TABLE).scalar_one():
        return None
    revision: str | None = tx.execute(_REVISION).scalar_one_or_none()
    return revision
