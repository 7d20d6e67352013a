"""What a load leaves behind: files of entities without a row, rows that name nothing, a selection that matches nothing.

A mapping or a selection that matches nothing at all is a mistake, and is reported before anything is done. One that
leaves something behind is a choice, and what it leaves is named.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from migrator.errors import ConfigError
from migrator.mapping import Rows, nearest
from migrator.model import EntityRef
from migrator.pipeline.load.settings import LoadSettings
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
        rows, known = rows_of(self._settings), self._catalog.known_refs()
        self.astray = rows.astray(known)
        kinds = {ref.kind for ref in known}
        if self.astray and len(self.astray) == len(rows.lines) and not self._settings.create_missing:
            source = self.astray[0][0]
            hint = "the archive holds nothing yet" if not known else f"it has no {source}"
            if known and source.kind not in kinds:
                hint = f"it has no kind {source.kind!r}; {nearest(source.kind, kinds)}"
            where = f"{rows.name} line {rows.lines[self.astray[0]]}" if rows.name else "the first row"
            raise ConfigError(f"no row of the mapping names anything in the archive ({where}: {hint})")
        for kind in sorted(self._settings.selection.kinds - kinds):
            self._expect_kind(kind, kinds)

    def _expect_kind(self, kind: str, kinds: set[str]) -> None:
        """One that merely has no entity is no mistake; one that is only spelled in another way is."""
        possible = self._settings.source_kinds
        mistyped = kind.casefold() in {one.casefold() for one in kinds}
        if mistyped or (possible and kind not in possible):
            raise ConfigError(f"the source has no kind {kind!r}; {nearest(kind, {*kinds, *possible})}")

    def summary(self, taken: int, *, planned: int) -> dict[str, Any]:
        """For the summary of a load: only what there is. `taken` of the `planned` uploads are what was asked for."""
        files = list(islice(self._catalog.files_of(self.without), KEPT))
        warnings = []
        if planned and not taken:
            warnings.append("nothing in the archive fits the filters, so nothing was done")
        return {
            **({"unmatched_rows": self.rows()[:KEPT]} if self.astray else {}),
            **({"unmapped_files": files} if files else {}),
            **({"warnings": warnings} if warnings else {}),
            **({"incomplete": True} if self._settings.strict and (files or self.astray) else {}),
        }

    def whole(self, summary: dict[str, Any]) -> dict[str, Any]:
        """The summary, with all that was left behind."""
        if len(summary.get("unmapped_files", ())) == KEPT:
            summary = {**summary, "unmapped_files": list(self._catalog.files_of(self.without))}
        return {**summary, "unmatched_rows": self.rows()} if "unmatched_rows" in summary else summary

    def rows(self) -> list[dict[str, Any]]:
        """The rows that name nothing in the archive."""
        lines = rows_of(self._settings).lines
        return [
            {
                "kind": source.kind,
                "entity": source.id,
                "target_kind": target.kind,
                "target_id": target.id,
                "line": lines.get((source, target)) or None,
            }
            for source, target in self.astray
        ]


def rows_of(settings: LoadSettings) -> Rows:
    """The rows of the mapping, as they were written or as they would be."""
    pairs = ((source, target) for source, targets in settings.mapping.items() for target in targets)
    return settings.rows or Rows(settings.mapping, dict.fromkeys(pairs, 0), "")
