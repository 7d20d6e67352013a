"""The files that an export takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from migrator.errors import ConfigError
from migrator.hints import did_you_mean
from migrator.model import Attachment, EntityRef
from migrator.selection import Selection, Selector
from migrator.store import Catalog


class SelectedFiles:
    """The rows of the files that are wanted, in the order of kind, entity and attachment id."""

    def __init__(self, catalog: Catalog, selection: Selection, *, gone: bool) -> None:
        self._exports, self._selection, self._gone = catalog.exports, selection, gone

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows; an iterator that reads as it goes."""
        rows = self._exports.files(gone=self._gone)
        if not self._selection.partial:
            return rows
        selector = Selector(self._selection)
        return (row for row in rows if selector.select(_attachment(row)))

    def totals(self) -> tuple[int, int]:
        """The number of files, and their bytes."""
        if not self._selection.partial:
            return self._exports.size(gone=self._gone)
        sizes = [row["size"] for row in self.rows()]
        return len(sizes), sum(sizes)

    def require_any(self) -> None:
        """`ConfigError` if there is a selection and nothing in it, with the kinds that there are if one is unknown."""
        if not self._selection.partial or next(self.rows(), None) is not None:
            return
        known = sorted({row["kind"] for row in self._exports.files(gone=self._gone)})
        named = [*self._selection.kinds, *(ref.kind for ref in self._selection.entities if ref.kind)]
        unknown = next((kind for kind in named if kind not in known), None)
        hint = f"; it has none of kind {unknown!r}, {did_you_mean(unknown, known, 'there are')}" if unknown else ""
        raise ConfigError(f"no file in this archive matches the filters{hint}")


def _attachment(row: dict[str, Any]) -> Attachment:
    owner = EntityRef(row["kind"], row["entity_id"])
    return Attachment(row["attachment_id"], owner, row["name"], row["size"], created_at=row["created_at"])
