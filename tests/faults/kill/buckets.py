"""Cloud Storage as a listing sees it: objects that lie in the journal, one to a page."""

from __future__ import annotations

from run.clients import Clients
from run.clients.storage import LONGEST_PAGE, Page, Storage, StoredObject
from tests.faults.kill.journal import Journal
from tests.faults.kill.points import Points


class JournalStorage(Storage):
    """Lists the entries `lies` of the journal."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal = journal
        self._points = points

    def list_page(
        self, bucket: str, prefix: str = "", page_token: str | None = None, *, start: str = "", size: int = LONGEST_PAGE
    ) -> Page:
        """One object; `size` is more than that."""
        with self._points.around("listing objects"):
            names = sorted(entry["name"] for entry in self._journal.read("lies"))
        found = [name for name in names if name.startswith(prefix) and name >= start]
        number = int(page_token or 0)
        objects = tuple(StoredObject(bucket, name, 1, 5, None) for name in found[number : number + 1])
        return Page(objects, str(number + 1) if number + 1 < len(found) else None)


class JournalClients(Clients):
    """Hands out that storage, and nothing else."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._lists = JournalStorage(journal, points)

    @property
    def storage(self) -> Storage:
        return self._lists
