"""What a crawl looks for, as a condition in SQL: which kinds of entities, and which files."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database


def kinds_condition(kinds: Sequence[str], left_out: Sequence[str]) -> tuple[str, list[str]]:
    """An SQL condition and its parameters: these kinds, or all if there are none, except those left out."""
    among = f"AND kind IN ({', '.join('?' * len(kinds))}) " if kinds else ""
    without = f"AND kind NOT IN ({', '.join('?' * len(left_out))})" if left_out else ""
    return among + without, [*kinds, *left_out]


def files_condition(
    kinds: Sequence[str], left_out: Sequence[str], left_out_ids: Sequence[str]
) -> tuple[str, list[str]]:
    """The same for files, without those whose ids begin with one of `left_out_ids`."""
    of_kinds, values = kinds_condition(kinds, left_out)
    without, prefixes = _left_out(left_out_ids)
    return (f"{of_kinds} AND NOT {without}" if prefixes else of_kinds), [*values, *prefixes]


def _left_out(left_out_ids: Sequence[str]) -> tuple[str, list[str]]:
    """An SQL condition and its parameters: files whose ids begin with one of these."""
    conditions = ["substr(attachments.attachment_id, 1, length(?)) = ?" for _ in left_out_ids]
    return f"({' OR '.join(conditions) or 'FALSE'})", [word for prefix in left_out_ids for word in (prefix, prefix)]


def requeue_skipped(db: Database, kinds: Sequence[str], left_out_ids: Sequence[str]) -> None:
    """Files of these kinds (all if empty) that a crawl of a selection skipped are to be fetched after all."""
    of_kinds = f"AND kind IN ('Unlinked', {', '.join('?' * len(kinds))})" if kinds else ""
    without, prefixes = _left_out(left_out_ids)
    db.execute(
        "UPDATE attachments SET status = 'pending' "
        f"WHERE status = 'skipped' AND error IS NULL {of_kinds} AND NOT {without}",
        [*kinds, *prefixes],
    )


def skip_left_out(db: Database, left_out_ids: Sequence[str]) -> None:
    """Files that the options exclude are neither failed nor to be fetched."""
    these, prefixes = _left_out(left_out_ids)
    if prefixes:
        wanted = f"{these} AND status IN ('pending', 'failed')"
        db.execute(f"UPDATE attachments SET status = 'skipped', error = NULL WHERE {wanted}", prefixes)
