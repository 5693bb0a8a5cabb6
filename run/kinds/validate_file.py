"""`validate_file`: a raw file keeps its contract, or the task is ERROR and says where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from run.kinds.checked_file import FileCheck
from run.kinds.child_process import TIMEOUT_SECONDS
from run.kinds.contract import ContractConfig, contract_problems
from run.kinds.kind import Finished, Kind, Work
from run.kinds.sources import SOURCE_KEY
from run.workflows.scope import Scope


class ValidateFile(Kind[ContractConfig]):
    """Reads the whole file once; writes nothing but the report of its errors."""

    name = "validate_file"
    config = ContractConfig
    takes_file = True
    source_key = SOURCE_KEY
    timeout_seconds = TIMEOUT_SECONDS

    def problems(self, config: ContractConfig, scope: Scope) -> Iterator[tuple[str, str]]:
        """Yield (key, reason) for what is wrong with this configuration in its workflow."""
        return contract_problems(config, scope)

    def start(self, config: ContractConfig, work: Work) -> Finished:
        """Check the file as it arrived; fails when its generation is not the one that did."""
        with TemporaryDirectory() as folder:
            return Finished(FileCheck(self.clients.storage, config, work, Path(folder)).run(writes=False).details)
