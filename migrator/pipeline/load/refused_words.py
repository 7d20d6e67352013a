"""Looks into a file for what a target refuses in any file (see `Capabilities.refused_words`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from migrator.ports import Body


async def refused_word_in(body: Body, words: Sequence[bytes]) -> str | None:
    """The first of these words that a file contains, in upper or lower case, as it is there; None if there is none."""
    if not words:
        return None
    pattern = re.compile(b"|".join(map(re.escape, words)), re.IGNORECASE)
    kept, tail = max(map(len, words)) - 1, b""
    async for chunk in body:
        window = tail + chunk
        if match := pattern.search(window):
            return match[0].decode("latin-1")
        tail = window[max(0, len(window) - kept) :]
    return None
