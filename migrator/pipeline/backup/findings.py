"""What a backup finds that belongs to no file or entity: unreadable listings, and oddities of the source."""

from __future__ import annotations

from collections.abc import Sequence

from migrator.errors import TrackerUnreachableError
from migrator.hints import did_you_mean
from migrator.model import UNLINKED, EntityRef
from migrator.pipeline.summary import LISTING_OF
from migrator.progress import Progress
from migrator.selection import Selection
from migrator.store import Catalog, Crawl, Vanished
from migrator.units import counted

MAX_WARNINGS = 100


class Findings:
    """The findings of one run. `answered`: some listing could be read. `unread`: why others could not, by name."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.answered = False
        self.unread: dict[str, str] = {}
        self.warnings: list[str] = []
        self._others: list[tuple[str, str]] = []

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Name and reason of each, the most telling first."""
        return [*self._others, *((f"{LISTING_OF}{stream}", reason) for stream, reason in self.unread.items())]

    def add_unread(self, stream: str, reason: str) -> None:
        """Add a listing that can't be read, or not to its end."""
        self.unread[stream] = reason
        self._progress.note(f"the listing of {stream} can't be read: {reason}")

    def require_answers(self) -> None:
        """After all listings were tried: `TrackerUnreachableError` if none could be read."""
        if self.unread and not self.answered:
            stream, reason = next(iter(self.unread.items()))
            raise TrackerUnreachableError(f"the listing {stream!r} can't be read: {reason}")

    def warn(self, *texts: str | None) -> None:
        """Add warnings, each only once. `None` is ignored."""
        for text in texts:
            if text and text not in self.warnings and len(self.warnings) < MAX_WARNINGS:
                self.warnings.append(text)

    def judge(
        self, catalog: Catalog, crawl: Crawl, selection: Selection, kinds: Sequence[str], vanished: Vanished
    ) -> None:
        """After the crawl: add what it should have found and did not."""
        if not vanished.believed:
            reason = (
                f"{vanished.files:,} of {counted(vanished.held, 'file')} are no longer listed; none was marked as gone."
                " If they were deleted, run `migrator backup CONFIG --accept-gone`; if not, check what this account "
                "may see"
            )
            self._others.append(("files no longer listed", reason))
        for ref in sorted(selection.entities):
            if not catalog.entities.is_listed(ref, crawl.start):
                self._others.append((f"--entity {_option_text(ref)}", "the tracker lists no such entity"))
        self._warn_of_kinds(catalog, crawl, [*kinds, *sorted(selection.kinds)])
        if not (self.failures or catalog.entities.count(crawl.start) or catalog.files.any_listed(crawl.start)):
            self.warn("the tracker lists no entity and no file; check what this account may see")

    def _warn_of_kinds(self, catalog: Catalog, crawl: Crawl, kinds: Sequence[str]) -> None:
        unseen = [kind for kind in kinds if kind != UNLINKED and not catalog.entities.has_kind(kind, crawl.start)]
        known = sorted(catalog.entities.kinds(crawl.start)) if unseen else []
        for kind in unseen:
            hint = did_you_mean(kind, known or ["no entities at all"], "there are", repr)
            self.warn(f"no entity of the kind {kind!r} is listed; {hint}")


def _option_text(ref: EntityRef) -> str:
    return f"{ref.kind}:{ref.id}" if ref.kind else ref.id
