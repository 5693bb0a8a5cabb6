"""`external`: work that somebody outside does, who says with a message that it is done."""

from __future__ import annotations

from run.kinds.kind import AwaitsCompletion, Kind, KindConfig, Work


class ExternalConfig(KindConfig):
    """The keys of an `external` task; `description` is for the people who look at it."""

    description: str = ""


class External(Kind[ExternalConfig]):
    """Does nothing but wait for the completion message of its attempt."""

    name = "external"
    config = ExternalConfig
    timeout_seconds = 7 * 24 * 3600

    def awaits_completion(self, config: ExternalConfig) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def start(self, config: ExternalConfig, work: Work) -> AwaitsCompletion:  # noqa: ARG002
        """Begin to wait."""
        return AwaitsCompletion()
