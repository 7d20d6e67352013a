"""Addresses of object stores, and where a machine keeps the catalog of an archive in one.

Beware: every command that takes an archive imports this, so it imports little.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

STORES = ("s3", "gs", "az", "file")
"""Schemes of addresses that name an archive in an object store."""


def is_address(text: str) -> bool:
    """Whether this is the address of an archive in an object store, and not a path."""
    return "://" in text


def store_address(text: str) -> str:
    """The address of an archive in an object store, in one spelling; a path as it is. `ValueError` if it is neither."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    if scheme not in STORES:
        raise ValueError(f"an archive is a folder, or lies at {', '.join(f'{each}://' for each in STORES)}")
    nameless = not rest.strip("/") or (rest.startswith("/") and scheme != "file")
    if nameless or {"?", "#", "@"} & set(rest):
        raise ValueError(f'an address is written like "{scheme}://bucket/folder", and has no keys in it')
    return f"{scheme}://{rest.rstrip('/')}"


def local_folder(url: str) -> Path:
    """Where this machine keeps the catalog of an archive in an object store, if nothing else is said."""
    states = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-.")[:60]
    number = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(states).expanduser() / "migrator" / f"{name}-{number}"
