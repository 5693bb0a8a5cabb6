"""Serves BigQuery on DuckDB: `python -m run.local.bigquery_process OPTION...`, the options of `bqemulator start`.

The server needs DuckDB's spatial extension and would download it; here it is taken from its wheel. Where it answers
otherwise than BigQuery, `run.local.bigquery_*` mend it.
"""

from __future__ import annotations

import sys

from bqemulator.cli import main
from duckdb_extensions import import_extension

from run.local import bigquery_destinations, bigquery_files, bigquery_job_ids

if __name__ == "__main__":
    import_extension("spatial")
    bigquery_destinations.install()
    bigquery_files.install()
    bigquery_job_ids.install()
    main(["start", *sys.argv[1:]])
