"""Success is what BigQuery has confirmed: a job that is only accepted starts nothing below it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.acceptance.service_room import ServiceRoom
from tests.acceptance.test_door import CHAIN, START, applied
from tests.local_parts import eventually

#: The rows of a workflow that no file and no command has brought.
BY_HAND = """
WITH w AS (INSERT INTO workflow (name, version) VALUES ('chain', 1) RETURNING workflow_id),
     v AS (INSERT INTO workflow_version (workflow_id, version, batch_template, has_files, params, definition, digest)
           SELECT workflow_id, 1, '{period}', false, '{}', '{}', 'by hand' FROM w RETURNING version_id),
     t AS (INSERT INTO task (workflow_id, name) SELECT workflow_id, n FROM w, unnest(ARRAY['first', 'second']) n
           RETURNING task_id, name),
     tv AS (INSERT INTO task_version (version_id, task_id, position, kind, rule, allow_failure, disabled,
                                      success_may_skip, lease_seconds, config)
            SELECT version_id, task_id, CASE name WHEN 'first' THEN 0 ELSE 1 END, 'bigquery_query', 'all_success',
                   false, false, false, 60, '{"sql": "SELECT 1"}' FROM v, t)
INSERT INTO task_dependency (version_id, parent_id, child_id, parent_position, child_position)
SELECT version_id, p.task_id, c.task_id, 0, 1 FROM v, t p, t c WHERE p.name = 'first' AND c.name = 'second'
"""


@pytest.fixture
def chain(service: ServiceRoom, tmp_path: Path) -> ServiceRoom:
    return applied(service, tmp_path, CHAIN)


def test_a_child_waits_while_its_parents_job_is_running(chain: ServiceRoom) -> None:
    chain.warehouse.may_end.clear()
    chain.push(START)
    working = threading.Thread(target=chain.deliver)
    working.start()
    eventually(lambda: chain.warehouse.jobs, "the job to be accepted")
    [job] = chain.warehouse.jobs.values()
    assert job["configuration"]["query"]["query"] == "SELECT 1"
    assert chain.statuses() == {"first": "PROCESSING", "second": "WAITING"}
    assert len(chain.topic.bodies) == 1
    chain.warehouse.may_end.set()
    working.join(30)
    assert chain.statuses() == {"first": "SUCCESS", "second": "NEW"}
    assert len(chain.published(2)) == 2


def test_a_job_that_failed_starts_nothing_and_its_reason_is_kept(chain: ServiceRoom) -> None:
    chain.warehouse.error_results = [{"reason": "invalidQuery", "message": "the oven is cold"}]
    chain.push(START)
    assert chain.deliver() == 204
    assert chain.statuses() == {"first": "ERROR", "second": "SKIPPED"}
    [(status, error, ended)] = chain.rows("SELECT status, error, ended_at >= started_at FROM task_log")
    assert (status, ended) == ("ERROR", True)
    assert "the oven is cold" in error
    assert len(chain.warehouse.inserts) == 1
    assert len(chain.topic.bodies) == 1


def test_a_workflow_that_stands_in_the_tables_runs_without_any_code(service: ServiceRoom) -> None:
    service.database.transact(lambda tx: tx.exec_driver_sql(BY_HAND.replace("%", "%%")))
    service.push(START)
    service.deliver()
    service.deliver()
    assert service.statuses() == {"first": "SUCCESS", "second": "SUCCESS"}
    assert service.rows("SELECT status FROM task_batch") == [("SUCCESS",)]
