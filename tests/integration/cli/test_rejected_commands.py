from __future__ import annotations

import base64
import json

from run.pubsub.dead_letters import read_dead_letter
from run.pubsub.envelope import read_delivery
from tests.integration.cli.conftest import CommandLine, Door
from tests.integration.cli.workflow_files import SALES, chain

START = {"trigger_type": "workflow", "workflow": "w", "batch_id": "2024-03"}


def test_the_inbox_lists_and_shows_what_was_rejected(cli: CommandLine, door: Door) -> None:
    assert cli.json("rejected", "list") == []
    assert cli("rejected", "list").stderr == "No rejected message waits for anybody.\n"
    door.push(START)
    (row,) = cli.json("rejected", "list")
    assert (row["reason"], row["deliveries"], row["replays"]) == ("there is no workflow 'w'", 1, 0)
    assert "there is no workflow 'w'" in cli.good("rejected", "list")
    shown = cli.json("rejected", "show", str(row["rejected_id"]))
    assert '"batch_id": "2024-03"' in shown["message"]["data"]
    assert '"batch_id": "2024-03"' in cli.good("rejected", "show", str(row["rejected_id"]))


def test_what_a_terminal_would_obey_in_a_message_is_escaped(cli: CommandLine, door: Door) -> None:
    door.push({"trigger_type": "workflow", "workflow": "w\x9b2J"}, {"sender": "\x1b[31m\n"})
    (row,) = cli.json("rejected", "list")
    said = cli.good("rejected", "list") + cli.good("rejected", "show", str(row["rejected_id"]))
    assert r"sender: \x1b[31m\n" in said
    assert all(one.isprintable() for one in said.replace("\n", ""))


def test_a_replayed_message_has_its_effect_once_and_leaves_the_inbox(cli: CommandLine, door: Door) -> None:
    door.push(START)
    rejected_id = str(cli.json("rejected", "list")[0]["rejected_id"])
    cli.apply(chain("w", "a"))
    assert (
        cli.good("rejected", "replay", rejected_id, "--actor", "ann") == f"rejected message {rejected_id} is replayed\n"
    )
    assert cli.json("batch", "list")[0]["batch"] == "2024-03"
    assert len(cli.pushes.messages) == 1
    assert cli.json("rejected", "list") == []
    (row,) = cli.json("rejected", "list", "--all")
    assert row["replays"] == 1
    audit = cli.room.rows("SELECT actor, subject, details ->> 'reason' FROM audit WHERE action = 'replay'")
    assert audit == [("ann", f"rejected message {rejected_id}", "there is no workflow 'w'")]
    cli.good("rejected", "replay", rejected_id)
    assert len(cli.json("batch", "list")) == 1
    assert "replayed 2" in cli.good("rejected", "show", rejected_id)


def test_a_message_that_is_rejected_again_stays_and_fails_with_the_reason(cli: CommandLine, door: Door) -> None:
    door.push(START)
    rejected_id = str(cli.json("rejected", "list")[0]["rejected_id"])
    said = cli.bad("rejected", "replay", rejected_id)
    assert said == f"rejected message {rejected_id} is rejected again: there is no workflow 'w'\n"
    assert len(cli.json("rejected", "list")) == 1
    assert cli.room.rows("SELECT count(*) FROM audit WHERE action = 'replay'") == [(0,)]


def test_a_file_that_is_rejected_again_stays_and_fails_with_the_reason(cli: CommandLine, door: Door) -> None:
    cli.apply(SALES)
    door.file("expenses/2024-03.csv")
    door.file("expenses/2024-03-v2.csv")
    rejected_id = str(cli.json("rejected", "list")[0]["rejected_id"])
    result = cli("rejected", "replay", rejected_id)
    assert result.exit_code == 1
    assert "is rejected again" in result.stderr
    assert "second object" in result.stderr
    assert len(cli.json("rejected", "list")) == 1


def test_a_file_whose_obstacle_is_gone_is_taken_by_its_replay(cli: CommandLine, door: Door) -> None:
    cli.apply(SALES)
    door.file("expenses/2024-03.csv")
    door.file("expenses/2024-03-v2.csv")
    rejected_id = str(cli.json("rejected", "list")[0]["rejected_id"])
    cli.room.change(
        "UPDATE file_log SET decision = 'SUPERSEDED', reason = 'by hand' WHERE object = 'expenses/2024-03.csv'"
    )
    cli.good("rejected", "replay", rejected_id)
    (row,) = cli.json("file", "show", "gs://landing/expenses/2024-03-v2.csv")
    assert row["decision"] == "TAKEN"


def set_aside(door: Door, name: str) -> None:
    """Announce an object as Pub/Sub forwards it when a subscription has given up."""
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "landing",
        "objectId": name,
        "objectGeneration": "1",
        "CloudPubSubDeadLetterSourceSubscription": "push",
        "CloudPubSubDeadLetterSourceDeliveryCount": "100",
    }
    inner = {"messageId": "forwarded", "attributes": attributes, "data": base64.b64encode(b"{}").decode()}
    delivery = read_delivery({}, json.dumps({"message": inner, "subscription": "dead-letter"}).encode())
    dead_letter = read_dead_letter(delivery)
    assert dead_letter is not None
    door.service.reject(delivery, dead_letter.reason)


def test_a_file_that_was_set_aside_and_is_rejected_for_one_task_names_what_stands_for_it_now(
    cli: CommandLine, door: Door
) -> None:
    cli.apply(SALES)
    cli.apply(SALES.replace("workflow: sales", "workflow: copies"), "copies.yaml")
    door.file("expenses/2024-03.csv")
    cli.room.change(
        "UPDATE file_log SET decision = 'SUPERSEDED', reason = 'by hand' FROM workflow w "
        "WHERE w.workflow_id = file_log.workflow_id AND w.name = 'copies'"
    )
    set_aside(door, "expenses/2024-03-v2.csv")
    (old,) = cli.json("rejected", "list")
    result = cli("rejected", "replay", str(old["rejected_id"]), "--actor", "ann")
    (new,) = cli.json("rejected", "list")
    assert new["rejected_id"] != old["rejected_id"]
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"rejected message {old['rejected_id']} is rejected again: {new['reason']} "
        f"(now rejected message {new['rejected_id']})\n"
    )
    taken = cli.room.rows("SELECT decision FROM file_log WHERE object LIKE '%v2.csv' ORDER BY decision")
    assert taken == [("REJECTED",), ("TAKEN",)]
    audit = cli.room.rows("SELECT actor, details -> 'rejected_again' FROM audit WHERE action = 'replay'")
    assert audit == [("ann", [new["rejected_id"]])]


def test_a_file_that_was_set_aside_and_is_taken_by_its_replay_leaves_the_inbox(cli: CommandLine, door: Door) -> None:
    cli.apply(SALES)
    set_aside(door, "expenses/2024-03.csv")
    (old,) = cli.json("rejected", "list")
    cli.good("rejected", "replay", str(old["rejected_id"]))
    assert cli.json("rejected", "list") == []


def test_the_replay_of_a_file_for_one_task_is_not_judged_by_another_that_rejects_it(
    cli: CommandLine, door: Door
) -> None:
    cli.apply(SALES)
    cli.apply(SALES.replace("workflow: sales", "workflow: copies"), "copies.yaml")
    door.file("expenses/2024-03.csv")
    door.file("expenses/2024-03-v2.csv")
    rows = {row["rejected_id"]: row["message_key"] for row in cli.json("rejected", "list")}
    assert len(rows) == 2
    (key,) = cli.room.rows(
        "UPDATE file_log SET decision = 'SUPERSEDED', reason = 'by hand' FROM workflow w "
        "WHERE w.workflow_id = file_log.workflow_id AND w.name = 'copies' AND object = 'expenses/2024-03.csv' "
        "RETURNING task_id"
    )
    (mended,) = [rejected_id for rejected_id, name in rows.items() if name.endswith(f" task {key[0]}")]
    cli.good("rejected", "replay", str(mended))
    assert [row["rejected_id"] for row in cli.json("rejected", "list")] == [one for one in rows if one != mended]


def test_a_message_that_could_not_be_read_is_shown_as_it_came(cli: CommandLine) -> None:
    cli.room.change(
        "INSERT INTO rejected_message (message_key, reason, headers, body) "
        "VALUES ('k', 'no base64', '{}', CAST('{\"message\": {\"data\": \"?\"}}' AS text)::bytea)"
    )
    (row,) = cli.json("rejected", "list")
    assert '{"message": {"data": "?"}}' in cli.good("rejected", "show", str(row["rejected_id"]))
    assert "is not base64" in cli.bad("rejected", "replay", str(row["rejected_id"]))


def test_an_id_that_is_not_there_is_one_line_and_a_word_is_wrong_usage(cli: CommandLine) -> None:
    assert cli.bad("rejected", "show", "7") == "there is no rejected message 7\n"
    assert cli.bad("rejected", "replay", "7") == "there is no rejected message 7\n"
    cli.bad("rejected", "show", "seven", status=2)
