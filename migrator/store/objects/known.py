"""What the folder of a machine knows of its bucket.

Beware: every command that takes an archive imports this, to see whether there is a bucket, so it imports little.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from migrator.store.layout import IN_STEP


@dataclass(frozen=True, slots=True)
class InStep:
    """What a folder knows of its bucket: which journal both had last, and which one the copy of the catalog belongs to.

    `taking`: a kill may have left half of another one.

    `sent` is the hash of the encrypted journal that was last sent, or was about to be: a machine without a private key
    recognizes it as its own.

    `id` is that of this catalog: another one has another id, and so has this one once it was replaced.

    The other fields say how the bucket is reached, without keys, and to whom the archive is encrypted.
    """

    url: str
    e_tag: str = ""
    sha256: str = ""
    catalog: str = ""
    taking: bool = False
    sent: str = ""
    id: str = ""
    endpoint: str = ""
    region: str = ""
    allow_http: bool = False
    recipients: tuple[str, ...] = ()


def in_step(root: Path) -> InStep | None:
    """What this folder knows of its bucket; None if its blobs lie in itself."""
    with suppress(OSError, ValueError, TypeError):
        kept = json.loads((root / IN_STEP).read_bytes())
        return InStep(**{**kept, "recipients": tuple(kept.get("recipients", ()))})
    return None
