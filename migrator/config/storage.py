"""Archives in object stores: their addresses, how they are reached, and where a machine keeps their catalog."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from migrator.config.base import Flag, PathText, Secret, Section, address, example

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
    """[storage]: how an archive in an object store is reached. Without keys the cloud's own places count: environment,
    profile, role of the machine.

    local           the folder of this machine for the catalog; left out: one below ~/.local/state/migrator
    endpoint        the address of the store, where it isn't the cloud's own
    region          its region
    access_key      the key's name; for az:// the account's
    secret_key      the key
    session_token   goes with keys that are valid for a while only
    allow_http      true: the endpoint may be reached without TLS
    """

    local: Annotated[PathText | None, example("catalog")] = None
    endpoint: Annotated[
        Annotated[str, BeforeValidator(address)] | None, example("https://s3.eu-central-1.amazonaws.com")
    ] = None
    region: Annotated[str | None, example("eu-central-1")] = None
    access_key: Annotated[Secret | None, example({"env": "AWS_ACCESS_KEY_ID"})] = None
    secret_key: Annotated[Secret | None, example({"env": "AWS_SECRET_ACCESS_KEY"})] = None
    session_token: Annotated[Secret | None, example({"env": "AWS_SESSION_TOKEN"})] = None
    allow_http: Flag = False


class EncryptionSection(Section):
    """[encryption]: everything is encrypted with age before it leaves for the bucket. Needs the extra `encryption`.

    recipients      the public keys to which it is encrypted, as `age-keygen` shows them
    identity        the private key, to read with: for load, export, verify --full, a new machine; a backup needs none
    """

    recipients: Annotated[
        tuple[str, ...],
        Field(min_length=1),
        example(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]),
    ]
    identity: Annotated[Secret | None, example({"file": "key.txt"})] = None


def local_folder(url: str) -> Path:
    """Where this machine keeps the catalog of an archive in an object store, if nothing else is said."""
    states = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = re.sub(r"[^\w.-]+", "-", url.partition("://")[2]).strip("-.")[:60]
    number = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Path(states).expanduser() / "migrator" / f"{name}-{number}"
