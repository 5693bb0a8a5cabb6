"""The command line: `python -m run COMMAND`. Exit status 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import click

from run.cli.commands import CommandLine, Place

_COMMANDS = {
    "serve": Place("run.cli.service:serve", "Serve push requests, as Cloud Run does."),
    "dev": Place("run.cli.local:dev", "Run everything on this machine until Ctrl-C."),
    "demo": Place("run.cli.local:demo", "Show a year of flights becoming a report."),
    "migrate": Place("run.cli.service:migrate", "Bring the database to the newest tables."),
    "config": Place("run.cli.service:config", "Show the settings, secrets hidden."),
    "workflow": Place("run.cli.workflow:workflow", "Check, store and show workflows."),
    "batch": Place("run.cli.batch:batch", "Start, list, watch, re-run and cancel batches."),
    "task": Place("run.cli.task:task", "Run a task of a batch again, or say how it ended."),
    "file": Place("run.cli.file:file", "Say what became of files, or hand over what was missed."),
    "rejected": Place("run.cli.rejected:rejected", "Read and replay messages that could not succeed."),
    "notification": Place("run.cli.notification:notification", "List what people were told, and tell them again."),
    "metrics": Place("run.cli.metrics:metrics", "Count batches, open tasks, notifications and rejected messages."),
    "stuck": Place("run.cli.stuck:stuck", "List tasks that nothing will move, or that nobody has moved in time."),
    "sweep": Place("run.cli.service:sweep", "Mend once what a crash or a lost message left."),
}


@click.group(cls=CommandLine, places=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Cloud Accelerator: a file lands, and everything that depends on it happens, in order."""
