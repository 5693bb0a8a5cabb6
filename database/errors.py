"""What the database may say to the service."""

from __future__ import annotations


class DatabaseError(Exception):
    """The root of what this package raises on purpose."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer, or not in time; the same transaction may succeed later."""


class OutOfDate(DatabaseError):
    """What a transaction has read and locked is not all that it must have; right when it is run again."""


class Missing(DatabaseError):
    """A row that a person or a message named does not exist; the message says which."""


class StatementRefused(DatabaseError):
    """The database refuses a statement; the message names the constraint or the SQLSTATE, and no values."""
