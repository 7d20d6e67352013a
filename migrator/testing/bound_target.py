"""A target under test, a way to look into its tracker, and what the suites send to it."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Target
from migrator.testing.samples import Bytes

Truth = tuple[str, int, str, str]
"""Name, size, SHA-256 and description of a file that is really there."""

NASTY = (
    "a/b.txt",
    "a\\b.txt",
    "..",
    ".",
    "",
    " ",
    ".hidden",
    " leading.txt",
    "trailing.txt ",
    "trailing.",
    "line\nbreak.txt",
    "carriage\rreturn.txt",
    "tab\there.txt",
    "null\0byte.txt",
    "bell\x07.txt",
    'quote".txt',
    "it's.txt",
    "100%.txt",
    "%41%2F.txt",
    "a;b=c.txt",
    "<b>&amp;.txt",
    "a:b*c?d|e.txt",
    "question?.txt",
    "hash#.txt",
    "plus+ and &.txt",
    "COM1.txt",
    "Änderung 日本 😀.txt",
    "A\u0308 decomposed.txt",
    "\u202etxt.exe",
    "line\u2028separator.txt",
    "no extension",
    "~`!@$^()_-={}[],.txt",
)
"""Names that one tracker or another is known to change, refuse or take for something else."""


@dataclass
class BoundTarget:
    """A target, and a way to look into its tracker without the adapter: `files_of`.

    `entity` exists and holds at least one file, `missing` does not exist. `author` is somebody whom the tracker knows,
    but not the account. `gone` is a file that was there and was deleted. `limits_names` False: the tracker (or the
    test's stand-in) is known to keep names longer than `max_name_bytes`. `refused_drafts` are files of one byte that
    this target is known to refuse. The tests of what is None are skipped.
    """

    target: Target
    build: Callable[[], Target]
    entity: EntityRef
    missing: EntityRef
    files_of: Callable[[EntityRef], Awaitable[list[Truth]]]
    gone: Attachment | None = None
    refused: Callable[[], Target] | None = None
    unreachable: Callable[[], Target] | None = None
    limits_names: bool = True
    author: str = "Somebody Else"
    refused_drafts: tuple[Draft, ...] = ()


async def send(
    bound: BoundTarget, name: str, content: bytes, description: str = "", media_type: str = "text/plain"
) -> Attachment | None:
    """Upload one file to the entity of the target under test."""
    draft = Draft(name, media_type, description, len(content))
    return await bound.target.upload(bound.entity, draft, Bytes(content))


def sha256(content: bytes) -> str:
    """The hash of these bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def stub(title: str) -> EntityDraft:
    """What a load creates for an entity that has no row."""
    mark = f"migrator-{secrets.token_hex(12)}"
    return EntityDraft("Bug", title, f"Migrated from here: Bug 1\nhttp://old.example/1?a=b&c=d\n\n{title}", mark)


async def arrivals(bound: BoundTarget, before: list[Truth]) -> list[Truth]:
    """The files that are there now and were not there before."""
    return sorted((Counter(await bound.files_of(bound.entity)) - Counter(before)).elements())
