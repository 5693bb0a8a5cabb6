"""The router knows one message at a time, and nothing of graphs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_router_comes_without_the_engine_the_graph_and_the_database() -> None:
    program = "import sys, run.pubsub.router; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    ours = [name for name in done.stdout.split() if name.startswith(("run.", "database"))]
    assert "run.pubsub.router" in ours
    assert [name for name in ours if not name.startswith(("run.pubsub", "run.errors"))] == []
