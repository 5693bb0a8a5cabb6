"""Map tasks over lists: one row for each element of a task, and for each attempt of an element.

While this migration runs, the revision of the service before it is still serving. It goes on working, as long as no
workflow with `map` is applied: its rows are those of whole tasks, which the default of `element` says. One thing it
cannot do any more, which happens when a worker whose attempt was taken away comes back with a handle newer than the
stored one: it cannot write that down, its message is not acked, and comes again to the newer revision.

The indexes of the new keys are built before the old ones are dropped, without keeping anybody from writing; the keys
then change hands in one short transaction, and their references are verified after it. Whoever is interrupted begins
again: each step is repeatable.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TASK = ("workflow_id", "batch_id", "task_id")
ELEMENT = (*TASK, "element")
IS_OPEN = "WHERE status IN ('WAITING', 'NEW', 'PROCESSING')"

#: (table, the key before, the key now)
KEYS = (
    ("batch_task", TASK, ELEMENT),
    ("task_log", (*TASK, "attempt"), (*ELEMENT, "attempt")),
    ("attempt_file", (*TASK, "attempt", "file_log_id"), (*ELEMENT, "attempt", "file_log_id")),
    ("completion", (*TASK, "attempt"), (*ELEMENT, "attempt")),
    ("cancellation", (*TASK, "attempt"), (*ELEMENT, "attempt")),
)
#: (table, what it refers to, by which columns before, by which now)
REFERENCES = (
    ("task_log", "batch_task", TASK, ELEMENT),
    ("completion", "batch_task", TASK, ELEMENT),
    ("attempt_file", "task_log", (*TASK, "attempt"), (*ELEMENT, "attempt")),
    ("cancellation", "task_log", (*TASK, "attempt"), (*ELEMENT, "attempt")),
)
#: (name, table, columns before, columns now, unique, condition)
INDEXES = (
    ("ix_batch_task_open", "batch_task", TASK, ELEMENT, "", IS_OPEN),
    ("uq_task_log_open", "task_log", TASK, ELEMENT, "UNIQUE", "WHERE status = 'PROCESSING'"),
)
#: (name, condition)
NEW_CHECKS = (
    (
        "open_attempt",
        "status <> 'PROCESSING' OR num_nonnulls(lease_until, due_at, NULLIF(awaits_elements, false)) = 1",
    ),
    ("awaits_elements", "awaits_elements = (status = 'PROCESSING' AND elements IS NOT NULL)"),
    ("elements_of_open", "elements IS NULL OR status NOT IN ('WAITING', 'NEW')"),
    ("elements", "elements IS NULL OR (elements >= 0 AND element = -1)"),
    ("element", "element >= -1 AND (element >= 0) = (item IS NOT NULL)"),
)
OLD_CHECKS = (("open_attempt", "status <> 'PROCESSING' OR (lease_until IS NULL) <> (due_at IS NULL)"),)


def upgrade() -> None:
    for table, _, _ in KEYS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS element integer NOT NULL DEFAULT -1")
    op.execute("""
        ALTER TABLE batch_task ADD COLUMN IF NOT EXISTS awaits_elements boolean NOT NULL DEFAULT false,
                               ADD COLUMN IF NOT EXISTS elements bigint, ADD COLUMN IF NOT EXISTS item jsonb
    """)
    op.execute("ALTER TABLE cancellation ADD COLUMN IF NOT EXISTS item jsonb")
    op.execute("ALTER TABLE task_version ADD COLUMN IF NOT EXISTS map jsonb")
    with op.get_context().autocommit_block():
        for table, _, now in KEYS:
            _build(f"new_pk_{table}", table, now, "UNIQUE", "")
        for name, table, _, now, unique, condition in INDEXES:
            _build(f"new_{name}", table, now, unique, condition)
    _change_keys(now=True)
    _change_checks((*OLD_CHECKS, *NEW_CHECKS), NEW_CHECKS)
    with op.get_context().autocommit_block():
        for table, _, _, now in REFERENCES:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {_reference(table, now)}")
        for name, _ in NEW_CHECKS:
            op.execute(f"ALTER TABLE batch_task VALIDATE CONSTRAINT ck_batch_task_{name}")


def downgrade() -> None:
    # What only mapped tasks have is lost; a task that awaits its elements is somebody's to look at again.
    for table in ("attempt_file", "cancellation", "completion", "task_log", "batch_task"):
        op.execute(f"DELETE FROM {table} WHERE element >= 0")
    _change_checks(NEW_CHECKS, ())
    op.execute("UPDATE batch_task SET due_at = clock_timestamp() WHERE awaits_elements")
    _change_checks((), OLD_CHECKS)
    for table, before, _ in KEYS:
        _build(f"new_pk_{table}", table, before, "UNIQUE", "", concurrently="")
    for name, table, before, _, unique, condition in INDEXES:
        _build(f"new_{name}", table, before, unique, condition, concurrently="")
    _change_keys(now=False)
    op.execute("ALTER TABLE task_version DROP COLUMN map")
    op.execute("ALTER TABLE cancellation DROP COLUMN item")
    op.execute("ALTER TABLE batch_task DROP COLUMN item, DROP COLUMN elements, DROP COLUMN awaits_elements")
    for table, _, _ in KEYS:
        op.execute(f"ALTER TABLE {table} DROP COLUMN element")


def _build(
    name: str, table: str, columns: tuple[str, ...], unique: str, condition: str, concurrently: str = "CONCURRENTLY"
) -> None:
    op.execute(f"DROP INDEX {concurrently} IF EXISTS {name}")
    op.execute(f"CREATE {unique} INDEX {concurrently} {name} ON {table} ({', '.join(columns)}) {condition}")


def _change_keys(*, now: bool) -> None:
    """Let the indexes that were built be the keys; references are verified later, and hold for new rows at once."""
    for table, _, *both in REFERENCES:
        for former in both:
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {_reference(table, former)}")
    for table, _, _ in KEYS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY USING INDEX new_pk_{table}")
    for name, *_ in INDEXES:
        op.execute(f"DROP INDEX {name}")
        op.execute(f"ALTER INDEX new_{name} RENAME TO {name}")
    for table, target, before, after in REFERENCES:
        key = after if now else before
        columns = ", ".join(key)
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {_reference(table, key)} FOREIGN KEY ({columns}) "
            f"REFERENCES {target} ({columns}) {'NOT VALID' if now else ''}"
        )


def _change_checks(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> None:
    for name, _ in old:
        op.execute(f"ALTER TABLE batch_task DROP CONSTRAINT IF EXISTS ck_batch_task_{name}")
    for name, condition in new:
        op.execute(f"ALTER TABLE batch_task ADD CONSTRAINT ck_batch_task_{name} CHECK ({condition}) NOT VALID")


def _reference(table: str, columns: tuple[str, ...]) -> str:
    return f"fk_{table}_{'_'.join(columns)}"
