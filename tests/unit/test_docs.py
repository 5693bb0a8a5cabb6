"""What the documents show is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from database.statuses import SkipCause, Status
from run.engine.drawing import life_as_mermaid

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


def test_the_picture_of_a_tasks_life_is_drawn_from_the_moves_that_guard_it() -> None:
    page = (ROOT / "docs/lifecycle.md").read_text()
    assert f"```mermaid\n{life_as_mermaid()}\n```" in page
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(Status)
    assert all(f"`{cause}`" in page for cause in SkipCause)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_this_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:run|database|tests|examples|docs|deploy|migrations)/[\w./-]+\.\w+)`", page.read_text())
    for name in named:
        assert (ROOT / name).exists(), f"{page.name}: {name}"
