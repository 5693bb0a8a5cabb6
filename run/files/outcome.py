"""What a checked file leaves in the child's folder."""

from __future__ import annotations

#: All errors, one a line.
ERRORS = "errors.csv"
#: The rows.
PARQUET = "rows.parquet"
