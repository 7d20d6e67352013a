"""What a load leaves behind: files of entities without a row, rows that name nothing, a selection that matches nothing.

A mapping or a selection that matches nothing at all is a mistake, and is reported before anything is done. One that
leaves something behind is a choice, and what it leaves is named.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from migrator.errors import ConfigError
from migrator.hints import did_you_mean
from migrator.mapping import Rows
from migrator.model import EntityRef
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.summary import LoadSummary, UnmatchedRow
from migrator.store import Catalog

KEPT = 1000
"""How many of each are kept with the run in the catalog; the caller gets all of them."""


class Left:
    """What one load leaves. `without` are the entities that have files and no row, once that is known."""

    def __init__(self, catalog: Catalog, settings: LoadSettings) -> None:
        self._catalog, self._settings = catalog, settings
        self.without: list[EntityRef] = []
        self.astray: list[tuple[EntityRef, EntityRef]] = []

    def expect_something(self) -> None:
        """`ConfigError` where no row names anything in the archive, or a kind is asked for that can't be there."""
        rows, known = rows_of(self._settings), self._catalog.entities.refs()
        self.astray = rows.unmatched(known)
        kinds = {ref.kind for ref in known}
        if self.astray and len(self.astray) == len(rows.lines) and not self._settings.create_missing:
            source = self.astray[0][0]
            hint = "the archive holds nothing yet" if not known else f"it has no {source}"
            if known and source.kind not in kinds:
                hint = f"it has no kind {source.kind!r}; {did_you_mean(source.kind, sorted(kinds), shown=repr)}"
            where = f"{rows.name} line {rows.lines[self.astray[0]]}" if rows.name else "the first row"
            raise ConfigError(f"no row of the mapping names anything in the archive ({where}: {hint})")
        for kind in sorted(self._settings.selection.kinds - kinds):
            self._expect_kind(kind, kinds)

    def _expect_kind(self, kind: str, kinds: set[str]) -> None:
        """One that merely has no entity is no mistake; one that is only spelled in another way is."""
        possible = self._settings.source_kinds
        mistyped = kind.casefold() in {one.casefold() for one in kinds}
        if mistyped or (possible and kind not in possible):
            hint = did_you_mean(kind, sorted({*kinds, *possible}), shown=repr)
            raise ConfigError(f"the source has no kind {kind!r}; {hint}")

    def added_to(self, summary: LoadSummary, taken: int, *, planned: int) -> LoadSummary:
        """The summary with what is left, as far as the catalog keeps it.

        `taken` of the `planned` uploads were asked for.
        """
        files = tuple(islice(self._catalog.files.of(self.without), KEPT))
        nothing = planned and not taken
        return replace(
            summary,
            unmatched_rows=self._rows()[:KEPT] if self.astray else None,
            unmapped_files=files or None,
            warnings=("nothing in the archive fits the filters, so nothing was done",) if nothing else None,
            incomplete=self._settings.strict and bool(files or self.astray),
        )

    def whole(self, summary: LoadSummary) -> LoadSummary:
        """The summary, with all that was left behind."""
        if len(summary.unmapped_files or ()) == KEPT:
            summary = replace(summary, unmapped_files=tuple(self._catalog.files.of(self.without)))
        return replace(summary, unmatched_rows=self._rows()) if summary.unmatched_rows is not None else summary

    def _rows(self) -> tuple[UnmatchedRow, ...]:
        lines = rows_of(self._settings).lines
        return tuple(
            UnmatchedRow(source.kind, source.id, target.kind, target.id, lines.get((source, target)) or None)
            for source, target in self.astray
        )


def rows_of(settings: LoadSettings) -> Rows:
    """The rows of the mapping, as they were written or as they would be."""
    pairs = ((source, target) for source, targets in settings.mapping.items() for target in targets)
    return settings.rows or Rows(settings.mapping, dict.fromkeys(pairs, 0), "")
