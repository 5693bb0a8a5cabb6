"""What goes on can be seen from outside: counted for a monitoring system, and listed where it stands still."""

from __future__ import annotations

from prometheus_client.core import Sample
from prometheus_client.parser import text_string_to_metric_families

from tests.engine_room import failing
from tests.integration.cli.conftest import CommandLine


def measured(cli: CommandLine) -> dict[tuple[str, ...], float]:
    """Each sample of the metrics by its name, its workflow and its status."""
    families = text_string_to_metric_families(cli.good("metrics"))
    return {_named(sample): sample.value for family in families for sample in family.samples}


def _named(sample: Sample) -> tuple[str, ...]:
    labels = (sample.labels[name] for name in ("workflow", "status") if name in sample.labels)
    return (sample.name.removeprefix("cloud_accelerator_"), *labels)


def test_metrics_count_what_goes_on_and_what_is_over(cli: CommandLine) -> None:
    cli.room.told.orders["burn"] = failing("smoke")
    cli.room.apply({"mix": [], "bake": ["mix"], "burn": ["mix"]})
    cli.room.start("2024-03")
    cli.room.deliver_all()
    cli.room.start("2024-04")
    cli.room.start("2024-05")
    cli.room.execute("mix", "2024-05")
    cli.room.change("UPDATE batch_task SET changed_at = changed_at - interval '1 hour' WHERE status = 'WAITING'")
    found = measured(cli)
    assert {name: value for name, value in found.items() if name[0] in {"batches", "open_tasks"}} == {
        ("batches", "cake", "ERROR"): 1,
        ("batches", "cake", "PROCESSING"): 2,
        ("open_tasks", "cake", "NEW"): 3,
        ("open_tasks", "cake", "WAITING"): 2,
    }
    assert (
        found["oldest_open_task_seconds", "cake", "WAITING"] > 3599 > found["oldest_open_task_seconds", "cake", "NEW"]
    )


def test_metrics_count_dead_workers_and_rejected_messages(cli: CommandLine) -> None:
    cli.room.apply({"mix": []})
    cli.room.start()
    cli.room.change(
        "UPDATE batch_task SET status = 'PROCESSING', attempt = 1, publish_after = NULL, "
        "token = gen_random_uuid(), lease_until = clock_timestamp() - interval '1 second'"
    )
    cli.room.change(
        "INSERT INTO rejected_message (message_key, reason, headers, body) VALUES ('1', 'no JSON', '{}', 'x')"
    )
    found = measured(cli)
    assert (found["dead_workers",], found["rejected_messages",]) == (1, 1)
    counted = cli.json("metrics")
    assert (counted["dead_workers"], counted["rejected"], counted["notifications"]) == (1, 1, [])


def test_what_stands_still_is_listed_with_why_and_what_has_a_reason_is_not(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()
    assert "Nothing has stood still for 1 h 00 min without a reason." in cli("stuck").stderr
    assert cli.json("stuck", "--minutes", "0") == [], "its message is not overdue yet"
    cli.room.change("UPDATE batch_task SET changed_at = changed_at - interval '2 hours'")
    cli.room.change("UPDATE batch_task SET publish_after = publish_after - interval '2 hours' WHERE status = 'NEW'")
    [stuck] = cli.json("stuck")
    assert (stuck["workflow"], stuck["batch"], stuck["task"], stuck["status"]) == ("cake", "2024-03", "mix", "NEW")
    assert "its message was due at" in stuck["why"]
    assert "its message was due at" in cli.good("stuck")
    assert cli.room.statuses() == {"mix": "NEW", "bake": "WAITING"}, "to look changes nothing"


def test_a_task_that_waits_for_nothing_is_stuck(cli: CommandLine) -> None:
    cli.room.apply({"mix": [], "bake": ["mix"]})
    cli.room.start()
    cli.room.deliver_all()
    cli.room.change("UPDATE task_batch SET status = 'PROCESSING', ended_at = NULL")
    cli.room.change("UPDATE batch_task SET status = 'WAITING', changed_at = changed_at - interval '2 hours'")
    assert {one["task"]: one["why"] for one in cli.json("stuck")} == {"mix": "it is WAITING and waits for nothing"}
