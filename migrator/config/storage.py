"""Archives in object stores: their addresses, how they are reached, and where a machine keeps their catalog."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from migrator.config.base import Flag, PathText, Secret, Section, address

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
    if not rest.strip("/") or {"?", "#", "@"} & set(rest):
        raise ValueError(f'an address is written like "{scheme}://bucket/folder", and has no keys in it')
    return f"{scheme}://{rest.rstrip('/')}"


class StorageSection(Section):
    """[storage]: how an archive in an object store is reached, and the folder of this machine for its catalog.

    Without keys the cloud's own places count: environment, profile, role of the machine.
    """

    local: PathText | None = None
    endpoint: Annotated[str, BeforeValidator(address)] | None = None
    region: str | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    allow_http: Flag = False


def local_folder(url: str) -> Path:
    """Where this machine keeps the catalog of an archive in an object store, if nothing else is said."""
    states = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-.")[:60]
    number = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(states).expanduser() / "migrator" / f"{name}-{number}"
