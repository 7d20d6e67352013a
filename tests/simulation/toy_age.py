"""In place of age: what it makes has the same lengths and is different each time, but the same for the same seed.

It keeps nothing secret. What is wanted of it is what the program relies on: a change is noticed, and only a key of one
of the recipients opens it: `key-1` what is for `age-1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from unittest.mock import patch

from migrator.store.objects import age, opening
from migrator.store.objects.age import MIN_HEADER_BYTES, NONCE_BYTES, OTHER_RECIPIENTS, PART_BYTES, TAG_BYTES

_TURNED = bytes(byte ^ 0x5A for byte in range(256))


def opened(sealed: bytes, identities: Sequence[str] = ()) -> bytes:
    """What is in it, by any key if none is given; `UndecryptableError` if it was changed, or is for others."""
    head, _, rest = sealed.partition(b"\n")
    _, size, length, *recipients = head.decode(errors="replace").split() or ["", "0", "0"]
    body = rest[int(size) - len(head) - 1 + NONCE_BYTES :]
    content = body[: int(length)].translate(_TURNED)
    if identities and not {each.replace("key", "age") for each in identities} & {*recipients}:
        raise age.UndecryptableError(OTHER_RECIPIENTS)
    if body[int(length) :][:TAG_BYTES] != sha256(content).digest()[:TAG_BYTES]:
        raise age.UndecryptableError("it was changed")
    return content


@contextmanager
def toy_age(first: int) -> Iterator[None]:
    """Put it in place of pyrage while the context lasts. `first` numbers what is made."""
    numbers = count(first)

    def encrypt(content: bytes, recipients: Sequence[str]) -> bytes:
        number = next(numbers)
        size = MIN_HEADER_BYTES + number % 40
        header = f"toy {size} {len(content)} {' '.join(recipients)}\n#{number}".encode().ljust(size + NONCE_BYTES)
        tags = sha256(content).digest()[:TAG_BYTES] * max(1, -(-len(content) // PART_BYTES))
        return header + content.translate(_TURNED) + tags

    with (
        patch.object(age, "encrypt", encrypt),
        patch.object(age, "encrypted", lambda chunks, to: iter([encrypt(b"".join(chunks), to)])),
        patch.object(age, "decrypted", lambda chunks, identities: iter([opened(b"".join(chunks), identities)])),
        patch.object(age, "parsed_recipients", list),
        patch.object(age, "parsed_identities", str.split),
        patch.object(opening, "token_bytes", lambda size: f"{next(numbers)}".encode().rjust(size, b"-")),
    ):
        yield
