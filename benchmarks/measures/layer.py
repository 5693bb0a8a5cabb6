"""What a completion costs in the database where every task has a hundred parents and a hundred children."""

from __future__ import annotations

from statistics import mean

from benchmarks.figures import Figure
from benchmarks.measures.measuring import Bench
from benchmarks.room import open_room
from benchmarks.shapes import layers
from benchmarks.statements import Logged, Statement, logged_statements, marked

WIDTH = 100


def measure(bench: Bench) -> list[Figure]:
    """One message at a time, so that no completion waits for another one's locks."""
    with open_room(bench.postgres, threads=1) as room:
        room.apply("layers", layers(WIDTH))
        with logged_statements(room):
            bench.say("a first batch")
            room.run("layers", ["warm"])
            bench.say("a second one, timed")
            with marked(room) as logged:
                room.run("layers", ["timed"])
    # The tasks of the first layer are done before any of the second may start.
    completions = completions_in(logged)[:WIDTH]
    times = [sum(statement.milliseconds for statement in one) for one in completions]
    numbers = [sum(not statement.is_frame for statement in one) for one in completions]
    trips = [len(one) for one in completions]
    note = f"{len(completions)} completions of the first layer, timed by Postgres's log"
    return [
        Figure("layer_database_time", mean(times), f"mean of {note}; the commit is in it"),
        Figure("layer_database_worst", max(times), note),
        Figure("layer_statements", max(numbers), f"{mean(numbers):.2f} on average; {note}"),
        Figure("layer_round_trips", max(trips), f"{mean(trips):.2f} on average; {note}"),
    ]


def completions_in(logged: Logged) -> list[list[Statement]]:
    """The statements by which each attempt was ended, in vain or not, of attempts one after the other."""
    completions: list[list[Statement]] = []
    for transaction in logged.transactions():
        text = " ".join(statement.text for statement in transaction)
        if "INSERT INTO task_log" in text:
            completions.append([])
        elif "UPDATE task_log" in text:
            completions[-1] += transaction
    return completions
