"""When the content of an attachment counts as changed, so that it is fetched again: decided here, and nowhere else.

A tracker that replaces a file under its id lists another size or another date. What it doesn't list says nothing. The
rule stands here twice: SQLite applies it to a page of rows, where a call back into Python for each would wait for the
GIL.
"""

from __future__ import annotations

from migrator.dates import same_moment
from migrator.model import Attachment

CONTENT_CHANGED = """(size != excluded.size OR (excluded.created_at != '' AND created_at != excluded.created_at
            AND NOT same_moment(created_at, excluded.created_at)))"""
"""The rule in SQL, for an upsert into `attachments`: the row in the catalog against the one that is listed now."""


def is_content_changed(before: Attachment, listed: Attachment) -> bool:
    """The same rule for two listings of one attachment."""
    if None not in {before.size, listed.size} and before.size != listed.size:
        return True
    return listed.created_at != "" and not same_moment(before.created_at, listed.created_at)
