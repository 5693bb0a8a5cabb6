"""All rows of a database: kept beside it so that every run begins with the same ones, and told so that runs compare."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import psycopg2

MOMENT = "timestamp with time zone"
#: What is different each time wherever it is told.
CHANGING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=rejected message )\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
)
#: What no two runs have in common, or what only tells how often something was tried.
VOLATILE = {
    "uid", "token", "takeovers", "publishes", "polls", "tries", "problem", "deliveries", "waits_on", "cursor",
    "audit_id", "rejected_id",
}  # fmt: skip
TASKS = ("task_id", "skipped_because_of", "parent_id", "child_id")

History = dict[str, Any]

#: Foreign keys are not looked at in between.
_WITHOUT_ORDER, _IN_ORDER = "SET session_replication_role = replica", "SET session_replication_role = DEFAULT"

#: The planner knows as much of the tables as before the first run.
_NO_STATISTICS = """
    UPDATE pg_class SET reltuples = -1
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND reltuples <> -1
"""

_STATUSES = """
    SELECT COALESCE(json_object_agg(subject, status), '{}') FROM (
        SELECT b.batch_id || ' ' || t.name || CASE WHEN b.element >= 0 THEN '[' || b.element || ']' ELSE '' END
               AS subject, b.status || COALESCE(' ' || b.skip_cause, '') AS status
          FROM batch_task b JOIN task t ON t.task_id = b.task_id
         UNION ALL
        SELECT batch_id, status FROM task_batch
    ) all_of_them
"""

_CONTRADICTIONS = """
    SELECT COALESCE(json_agg(b.batch_id || ' ' || t.name || ': ' || wrong), '[]')
      FROM batch_task b
      JOIN task t ON t.task_id = b.task_id
     CROSS JOIN LATERAL (
           SELECT count(*) AS attempts, count(*) FILTER (WHERE l.status = 'PROCESSING') AS open,
                  COALESCE(max(l.attempt), 0) AS last,
                  count(*) FILTER (WHERE (l.status = 'PROCESSING') <> (l.ended_at IS NULL)) AS half
             FROM task_log l
            WHERE l.workflow_id = b.workflow_id AND l.batch_id = b.batch_id AND l.task_id = b.task_id
               AND l.element = b.element
           ) log
     CROSS JOIN LATERAL (VALUES
           (log.attempts <> b.attempt OR log.last <> b.attempt, 'attempts are missing in its log'),
           (log.open <> (b.status = 'PROCESSING')::int, 'its open attempt is not that of its log'),
           (log.half > 0, 'an attempt is half closed')
           ) checks (is_wrong, wrong)
     WHERE is_wrong
"""


class Tables:
    """The rows of all tables of one database."""

    def __init__(self, url: str) -> None:
        connection = psycopg2.connect(url)
        connection.autocommit = True
        self._cursor = connection.cursor()
        self._columns = self._find_columns()
        kept = "".join(f"CREATE TABLE kept.{table} (LIKE public.{table});" for table in self._columns)
        self._cursor.execute(f"CREATE SCHEMA kept; CREATE TABLE kept.moment (kept_at timestamptz); {kept}")

    def clear(self) -> None:
        """Take every row away."""
        self._cursor.execute("; ".join([_WITHOUT_ORDER, *self._deletions("public"), _IN_ORDER]))

    def keep(self) -> None:
        """Remember all rows as they are."""
        copies = [f"INSERT INTO kept.{table} TABLE public.{table}" for table in self._columns]
        moment = ["DELETE FROM kept.moment", "INSERT INTO kept.moment SELECT clock_timestamp()"]
        self._cursor.execute("; ".join([*self._deletions("kept"), *copies, *moment]))
        # Every run leaves dead rows.
        self._cursor.execute(f"VACUUM {', '.join(self._columns)}")

    def restore(self) -> None:
        """Have the rows that were kept, and no others; their moments are as long ago as they were then."""
        refills = [self._refill(table, columns) for table, columns in self._columns.items()]
        pieces = [_WITHOUT_ORDER, *self._deletions("public"), *refills, _IN_ORDER, _NO_STATISTICS]
        self._cursor.execute("; ".join(pieces))

    def wait_for_the_dead(self) -> None:
        """Wait until the server has ended the transactions of processes that are gone; the living ones are idle."""
        while self._ask(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND state <> 'idle'"
        ):
            time.sleep(0.001)

    def history(self) -> History:
        """All rows as a person would tell them: by names instead of numbers, without what is different each time."""
        parts = ", ".join(f"'{table}', (SELECT json_agg(t) FROM {table} t)" for table in self._columns)
        found = self._ask(f"SELECT CAST(json_build_object({parts}) AS text)")
        rows: dict[str, list[dict[str, Any]]] = {
            table: of_table or [] for table, of_table in json.loads(CHANGING.sub("?", found)).items()
        }
        names = _names(rows)
        return {table: sorted(self._told(table, row, names) for row in of_table) for table, of_table in rows.items()}

    def statuses(self) -> dict[str, str]:
        """The status of each task of each batch, a skipped one with its cause; of a batch too, by its own id."""
        found: dict[str, str] = self._ask(_STATUSES)
        return found

    def contradictions(self) -> list[str]:
        """What the rows of batch tasks and those of their attempts say differently."""
        found: list[str] = self._ask(_CONTRADICTIONS)
        return found

    def _told(self, table: str, row: Mapping[str, Any], names: Mapping[str, Mapping[Any, str]]) -> str:
        own_id = f"{table}_id"
        told: dict[str, Any] = {}
        for column, value in row.items():
            if value is None or column in VOLATILE or column == own_id:
                continue
            if self._columns[table][column] == MOMENT:
                told[column] = "set"
            else:
                told[column] = names.get(column, {}).get(value, value) if isinstance(value, int) else value
        return json.dumps(told, sort_keys=True)

    def _deletions(self, schema: str) -> list[str]:
        return [f"DELETE FROM {schema}.{table}" for table in self._columns]

    def _refill(self, table: str, columns: Mapping[str, str]) -> str:
        shifted = [
            f"{name} + (clock_timestamp() - kept_at)" if kind == MOMENT else name for name, kind in columns.items()
        ]
        source = f"SELECT {', '.join(shifted)} FROM kept.{table}, kept.moment"
        return f"INSERT INTO public.{table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE {source}"

    def _find_columns(self) -> dict[str, dict[str, str]]:
        self._cursor.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY table_name, ordinal_position"
        )
        found: dict[str, dict[str, str]] = {}
        for table, column, kind in self._cursor:
            found.setdefault(table, {})[column] = kind
        return found

    def _ask(self, statement: str) -> Any:
        self._cursor.execute(statement)
        row = self._cursor.fetchone()
        assert row is not None
        return row[0]


def _names(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[int, str]]:
    workflows = {row["workflow_id"]: row["name"] for row in rows["workflow"]}
    tasks = {row["task_id"]: row["name"] for row in rows["task"]}
    versions = {
        row["version_id"]: f"{workflows[row['workflow_id']]} {row['version']}" for row in rows["workflow_version"]
    }
    files = {row["file_log_id"]: f"{row['object']}#{row['generation']}" for row in rows["file_log"]}
    return {
        "workflow_id": workflows,
        "version_id": versions,
        "file_log_id": files,
        **dict.fromkeys(TASKS, tasks),
    }
