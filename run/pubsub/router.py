"""Which handler gets which message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from run.pubsub.envelope import Delivery
from run.pubsub.messages import (
    CompletedMessage,
    FileMessage,
    Message,
    SweepMessage,
    TaskMessage,
    WorkflowMessage,
    parse_message,
)


@dataclass(frozen=True)
class Router:
    """The handlers; each returns when the message's fate is in the database, and raises when it is not."""

    on_file: Callable[[FileMessage, Delivery], None]
    on_task: Callable[[TaskMessage, Delivery], None]
    on_completed: Callable[[CompletedMessage, Delivery], None]
    on_workflow: Callable[[WorkflowMessage, Delivery], None]
    on_sweep: Callable[[SweepMessage, Delivery], None]

    def route(self, delivery: Delivery) -> None:
        """Parse a delivery and hand its message over; raises Rejected, and what the handler raises."""
        self.dispatch(parse_message(delivery), delivery)

    def dispatch(self, message: Message, delivery: Delivery) -> None:
        """Hand a message over to its handler."""
        match message:
            case FileMessage():
                self.on_file(message, delivery)
            case TaskMessage():
                self.on_task(message, delivery)
            case CompletedMessage():
                self.on_completed(message, delivery)
            case WorkflowMessage():
                self.on_workflow(message, delivery)
            case SweepMessage():
                self.on_sweep(message, delivery)
            case _:
                assert_never(message)
