"""`external` does nothing but wait for what somebody outside says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from run.clients import Clients
from run.kinds.external import External, ExternalConfig
from run.kinds.kind import AwaitsCompletion, Work
from run.settings import Settings

EXTERNAL = External(
    Clients(Settings(database_url="postgresql://nobody@localhost/none", project="local", landing_bucket="landing"))
)
WORK = Work("w", "2024-03", "sign_off", 1, "u", values={}, params={}, batch_values={}, files={})


def test_an_attempt_awaits_its_completion_message_for_seven_days() -> None:
    assert EXTERNAL.start(ExternalConfig(), WORK) == AwaitsCompletion()
    assert EXTERNAL.awaits_completion(ExternalConfig())
    assert EXTERNAL.timeout_seconds == 7 * 24 * 3600


def test_nothing_is_to_be_ended_outside() -> None:
    assert EXTERNAL.cancel(ExternalConfig(), WORK, None)


def test_a_description_is_all_that_it_takes() -> None:
    assert ExternalConfig.model_validate({"description": "The controller signs."}).description
    with pytest.raises(ValidationError):
        ExternalConfig.model_validate({"descripton": "x"})
