"""The settings of a load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migrator.mapping import Mapping, NewRow, Rows
from migrator.selection import EVERYTHING, Selection


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """`identity` names the target. `look_again` is the length of a second in all waits for what was sent, `second` the
    length of one in its age; the same, if it isn't given. Tests have no time.

    `create_missing` creates a stub for each entity without a row, enters it in `mapping` and gives it to `add_rows`.
    `rows` is the mapping as it was written, if it comes from a file; `source_kinds` are all that the source can have.
    `strict`: files without a row, and rows that name nothing, make the run incomplete.
    """

    identity: str
    mapping: Mapping
    uploads: int = 4
    provenance: bool = True
    dry_run: bool = False
    verify_content: bool = False
    look_again: float = 1.0
    selection: Selection = EVERYTHING
    create_missing: bool = False
    add_rows: Callable[[Sequence[NewRow]], object] | None = None
    rows: Rows | None = None
    source_kinds: tuple[str, ...] = ()
    strict: bool = False
    second: float | None = None
