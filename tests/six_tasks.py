"""The six functions of the example, in both readings of their graph, with what they must give, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from run.workflows import Task, TaskDependency

USERS = [
    {"name": "Ann", "age": 30, "salary": 4000},
    {"name": "Bob", "age": 40, "salary": 5000},
    {"name": "Cleo", "age": 50, "salary": 9000},
]

#: The ages are 30, 40 and 50, the salaries 4000, 5000 and 9000.
STATS = {
    "avg_age": 40,
    "avg_salary": 6000,
    "total_records": 3,
    "age_range": [30, 50],
    "salary_range": [4000, 9000],
}
RESULTS = {
    "fetch_data": USERS,
    "validate": {"valid": ["Ann", "Bob", "Cleo"], "invalid": 0},
    "calculate_stats": STATS,
    "prepare_storage": {"rows": ["Ann", "Bob", "Cleo"], "average_salary": 6000},
    "save_data": "saved 3 rows",
    "generate_report": "saved 3 rows; 3 people, 30 to 50 years old, earn 6000 on average",
}


def fetch_user_data() -> list[dict[str, Any]]:
    return [dict(user) for user in USERS]


def validate_data(users: list[dict[str, Any]]) -> dict[str, Any]:
    valid = [user.pop("name") for user in users if user["age"] > 0]
    # What a function does with what it was given is its own affair.
    users.clear()
    return {"valid": valid, "invalid": 0}


def calculate_statistics(users: list[dict[str, Any]]) -> dict[str, Any]:
    ages = [user["age"] for user in users]
    salaries = [user["salary"] for user in users]
    return {
        "avg_age": sum(ages) // len(ages),
        "avg_salary": sum(salaries) // len(salaries),
        "total_records": len(users),
        "age_range": (min(ages), max(ages)),
        "salary_range": (min(salaries), max(salaries)),
    }


def prepare_for_storage(validated: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
    return {"rows": validated["valid"], "average_salary": stats.pop("avg_salary")}


def save_data(prepared: dict[str, Any]) -> str:
    return f"saved {len(prepared['rows'])} rows"


def generate_report(save_result: str, stats: dict[str, Any] | None = None) -> str:
    if stats is None:
        stats = {"avg_salary": 0, "total_records": 0, "age_range": (0, 0)}
    youngest, oldest = stats["age_range"]
    people = f"{stats['total_records']} people, {youngest} to {oldest} years old"
    return f"{save_result}; {people}, earn {stats['avg_salary']} on average"


def six_tasks(folder: Path | str, *, stats_waits_for_validate: bool = False) -> list[Task]:
    """The tasks, a log file each; by the list of the example calculate_stats waits for validate, by its code not."""
    from_fetch = TaskDependency("fetch_data", use_result_as_additional_args=True)
    of_stats: Sequence[TaskDependency] = [from_fetch]
    if stats_waits_for_validate:
        of_stats = [from_fetch, TaskDependency("validate")]
    return [
        Task("fetch_data", f"{folder}/fetch.log", fetch_user_data),
        Task("validate", f"{folder}/validate.log", validate_data, dependencies=[from_fetch]),
        Task("calculate_stats", f"{folder}/stats.log", calculate_statistics, dependencies=of_stats),
        Task(
            "prepare_storage",
            f"{folder}/prepare.log",
            prepare_for_storage,
            dependencies=[
                TaskDependency("validate", use_result_as_additional_args=True),
                TaskDependency("calculate_stats", use_result_as_additional_args=True),
            ],
        ),
        Task(
            "save_data",
            f"{folder}/save.log",
            save_data,
            dependencies=[TaskDependency("prepare_storage", use_result_as_additional_args=True)],
        ),
        Task(
            "generate_report",
            f"{folder}/report.log",
            generate_report,
            dependencies=[
                TaskDependency("save_data", use_result_as_additional_args=True),
                TaskDependency("calculate_stats", use_result_as_additional_kwargs=True, additional_kwarg_name="stats"),
            ],
        ),
    ]
