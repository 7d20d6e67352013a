"""What a load leaves out: files of entities without a row, rows that match nothing, a selection that matches nothing,
and what is missing in the archive itself.

A mapping that matches nothing at all is a mistake, and is reported before anything is done. One that leaves something
out is a choice, and what it leaves out is listed. What the archive lacks makes the load incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from migrator.errors import ConfigError
from migrator.hints import did_you_mean
from migrator.mapping import Rows
from migrator.model import EntityRef
from migrator.pipeline.lacking import lacking
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.summary import Failure, LoadSummary, UnmappedFile, UnmatchedRow
from migrator.store import Catalog

MAX_RECORDED = 1000
"""How many of each the catalog records with the run; the caller gets all of them."""


class Leftovers:
    """What one load leaves out.

    `unmatched` are rows that name nothing in the archive; `unmapped`, set by the load, entities with files and no row.
    """

    def __init__(self, catalog: Catalog, settings: LoadSettings) -> None:
        self._catalog, self._settings = catalog, settings
        self.unmapped: list[EntityRef] = []
        self.unmatched: list[tuple[EntityRef, EntityRef]] = []

    def require_matches(self) -> None:
        """`ConfigError` if no row names anything in the archive, or if the selection has a kind that can't exist."""
        rows, known = rows_of(self._settings), self._catalog.entities.refs()
        self.unmatched = rows.unmatched(known)
        kinds = {ref.kind for ref in known}
        if self.unmatched and len(self.unmatched) == len(rows.lines) and not self._settings.creates:
            source = self.unmatched[0][0]
            hint = "the archive holds nothing yet" if not known else f"it has no {source}"
            if known and source.kind not in kinds:
                hint = f"it has no kind {source.kind!r}; {did_you_mean(source.kind, sorted(kinds), shown=repr)}"
            where = f"{rows.name} line {rows.lines[self.unmatched[0]]}" if rows.name else "the first row"
            raise ConfigError(f"no row of the mapping names anything in the archive ({where}: {hint})")
        selection = self._settings.selection
        for kind in sorted({*selection.kinds, *(ref.kind for ref in selection.entities if ref.kind)} - kinds):
            self._require_kind(kind, kinds)
        for ref in sorted(selection.entities - known, key=str):
            if ref.kind or all(ref.id != other.id for other in known):
                raise ConfigError(f"the archive has no {ref}, which --entity names")

    def _require_kind(self, kind: str, kinds: set[str]) -> None:
        """A kind without entities is no mistake; one in a different spelling is."""
        possible = self._settings.source_kinds
        mistyped = kind.casefold() in {known.casefold() for known in kinds}
        if mistyped or (possible and kind not in possible):
            hint = did_you_mean(kind, sorted({*kinds, *possible}), shown=repr)
            raise ConfigError(f"the source has no kind {kind!r}; {hint}")

    def add_to(self, summary: LoadSummary, *, planned: int, selected: int) -> LoadSummary:
        """The summary with what was left out, as far as the catalog records it. The numbers are those of uploads."""
        files = tuple(islice(self._files(), MAX_RECORDED))
        lacking = self._lacking()
        nothing = planned and not selected
        return replace(
            summary,
            unmatched_rows=self._rows()[:MAX_RECORDED] if self.unmatched else None,
            unmapped_files=files or None,
            not_in_archive=lacking[:MAX_RECORDED] or None,
            warnings=("no file in the archive matches the filters, so nothing was done",) if nothing else None,
            incomplete=bool(lacking) or (self._settings.strict and bool(files or self.unmatched)),
        )

    def complete(self, summary: LoadSummary) -> LoadSummary:
        """The summary with everything that was left out."""
        if len(summary.unmapped_files or ()) == MAX_RECORDED:
            summary = replace(summary, unmapped_files=tuple(self._files()))
        if len(summary.not_in_archive or ()) == MAX_RECORDED:
            summary = replace(summary, not_in_archive=self._lacking())
        return replace(summary, unmatched_rows=self._rows()) if summary.unmatched_rows is not None else summary

    def _lacking(self) -> tuple[Failure, ...]:
        """What the archive lacks of what this load would send; nothing for a restore, which sends what there is."""
        return () if self._settings.restores else lacking(self._catalog, self._is_wanted)

    def _is_wanted(self, owner: EntityRef, name: str | None) -> bool:
        mapped = bool(self._settings.mapping.get(owner)) or self._settings.creates
        return mapped and self._settings.selection.wants_named(owner, name)

    def _files(self) -> Iterator[UnmappedFile]:
        return (UnmappedFile(**row) for row in self._catalog.files.of(self.unmapped))

    def _rows(self) -> tuple[UnmatchedRow, ...]:
        lines = rows_of(self._settings).lines
        return tuple(
            UnmatchedRow(source.kind, source.id, target.kind, target.id, lines.get((source, target)) or None)
            for source, target in self.unmatched
        )


def rows_of(settings: LoadSettings) -> Rows:
    """The rows of the mapping file, or, if it comes from no file, the rows it would have."""
    pairs = ((source, target) for source, targets in settings.mapping.items() for target in targets)
    return settings.rows or Rows(settings.mapping, dict.fromkeys(pairs, 0), "")
