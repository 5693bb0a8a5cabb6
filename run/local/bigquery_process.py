"""Serves BigQuery on DuckDB: `python -m run.local.bigquery_process OPTION...`, the options of `bqemulator start`.

The server needs DuckDB's spatial extension and would download it; here it is taken from its wheel.
"""

from __future__ import annotations

import sys

from bqemulator.cli import main
from duckdb_extensions import import_extension

if __name__ == "__main__":
    import_extension("spatial")
    main(["start", *sys.argv[1:]])
