"""The journal (manifest) of an archive: each change of the catalog as lines of text, and the way back."""

from migrator.store.journal import manifest
from migrator.store.journal.changes import MIGRATIONS, SEEN_COLUMN, Table, tables_of
from migrator.store.journal.keeper import (
    Journal,
    catch_up,
    is_replaced,
    record_position,
    recorded_base,
    recorded_position,
)
from migrator.store.journal.manifest import JournalPosition
from migrator.store.journal.replay import Replay, replay

__all__ = [
    "MIGRATIONS",
    "SEEN_COLUMN",
    "Journal",
    "JournalPosition",
    "Replay",
    "Table",
    "catch_up",
    "is_replaced",
    "manifest",
    "record_position",
    "recorded_base",
    "recorded_position",
    "replay",
    "tables_of",
]
