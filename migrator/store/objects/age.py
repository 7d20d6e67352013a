"""Encryption with age, through pyrage: to any number of recipients, and back with an identity.

age is a format with several programs that read it (https://age-encryption.org), and encrypting takes public keys only.
pyrage is the Rust implementation of the project `rage`. GnuPG needs a program and its own key store; `cryptography` has
only the parts to make a format of.

Beware: the length of an encrypted file is not determined by its content, because pyrage adds a header of random length.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from migrator.errors import ConfigError

WAITING_CHUNKS = 16
"""Chunks that may wait between the thread that encrypts or decrypts and the one that takes them: of 64 KiB at most."""
WAIT_SECONDS = 0.2
"""How often a thread that waits for room looks whether its chunks are still wanted."""
OTHER_RECIPIENTS = "No matching keys found"
"""What pyrage says if a file is for other recipients, or if its header was changed."""
PART_BYTES, TAG_BYTES, NONCE_BYTES = 64 * 1024, 16, 16
MIN_HEADER_BYTES, MAX_HEADER_BYTES = 168, 16 * 1024
"""The header of one recipient, and of more than a hundred."""
WITHOUT_PYRAGE = "[encryption] needs pyrage: pip install 'tracker-migrator[encryption]'"


class UndecryptableError(OSError):
    """An encrypted file that was changed, or is for other recipients."""


class NotWantedError(Exception):
    """Whoever took the chunks has stopped."""


def parsed_recipients(recipients: Sequence[str]) -> list[Any]:
    """Public keys as pyrage has them; `ConfigError` names one that is none."""
    x25519, found = _pyrage().x25519, []
    for number, text in enumerate(recipients):
        try:
            found.append(x25519.Recipient.from_str(text))
        except _pyrage().RecipientError:
            what = "a private key" if text.upper().startswith("AGE-SECRET-KEY-") else "not a public key"
            raise ConfigError(
                f'configuration: encryption.recipients[{number}] is {what} of age; a public key begins with "age1"'
            ) from None
    return found


def parsed_identities(text: str) -> list[Any]:
    """Private keys, one a line, as `age-keygen` writes them: lines that begin with # are comments."""
    lines = [line.strip() for line in text.splitlines()]
    try:
        found = [_pyrage().x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except _pyrage().IdentityError:
        found = []
    if not found:
        raise ConfigError('configuration: encryption.identity has no private age key ("AGE-SECRET-KEY-1...")')
    return found


def encrypt(content: bytes, recipients: Sequence[Any]) -> bytes:
    """A small content, encrypted."""
    return bytes(_pyrage().encrypt(content, recipients))


def encrypted(chunks: Iterator[bytes], recipients: Sequence[Any]) -> Iterator[bytes]:
    """A content of any size, encrypted while it is read."""
    return _piped(lambda reader, writer: _pyrage().encrypt_io(reader, writer, recipients), chunks)


def decrypted(chunks: Iterator[bytes], identities: Sequence[Any]) -> Iterator[bytes]:
    """A content of any size, decrypted while it is read; `UndecryptableError` at the first byte that was changed."""

    def decrypt(reader: _Reader, writer: _Writer) -> None:
        try:
            _pyrage().decrypt_io(reader, writer, identities)
        except Exception as error:  # pyrage's own, or an `OSError` of the middle of a file
            raise UndecryptableError(f"it can't be decrypted: {_first_line(error)}") from error

    return _piped(decrypt, chunks)


def may_be_size(encrypted_size: int, size: int) -> bool:
    """Whether a content of this size may have this size when it is encrypted."""
    parts = max(1, -(-size // PART_BYTES))
    header = encrypted_size - size - parts * TAG_BYTES - NONCE_BYTES
    return MIN_HEADER_BYTES <= header <= MAX_HEADER_BYTES


class _Reader:
    """A file for pyrage that reads from an iterator. An error of the iterator is kept, as pyrage passes on its text."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most this many bytes; none at the end."""
        try:
            while not self._left:
                self._left = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except BaseException as error:
            self.error = error
            raise
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)


class _Writer:
    """A file for pyrage whose chunks another thread takes."""

    def __init__(self) -> None:
        self.chunks: queue.Queue[bytes | None] = queue.Queue(WAITING_CHUNKS)
        self.wanted = True

    def write(self, chunk: bytes) -> int:
        """Hand over a chunk once there is room for it."""
        self._put(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Nothing is kept back."""

    def end(self) -> None:
        """Say that all is written, if somebody still wants to know."""
        if self.wanted:
            self._put(None)

    def _put(self, chunk: bytes | None) -> None:
        while self.wanted:
            try:
                self.chunks.put(chunk, timeout=WAIT_SECONDS)
            except queue.Full:
                continue
            return
        raise NotWantedError


def _piped(work: Callable[[_Reader, _Writer], None], chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What `work` writes while it reads these chunks, in constant memory. Its thread ends with this iterator."""
    reader, writer, errors = _Reader(chunks), _Writer(), list[BaseException]()

    def run() -> None:
        try:
            work(reader, writer)
        except BaseException as error:  # noqa: BLE001 - raised where the chunks are taken
            errors.append(reader.error or error)
        with suppress(NotWantedError):
            writer.end()

    thread = threading.Thread(target=run, name="age", daemon=True)
    thread.start()
    try:
        while (chunk := writer.chunks.get()) is not None:
            if chunk:
                yield chunk
    finally:
        writer.wanted = False
        thread.join()
    if errors:
        raise errors[0]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise ConfigError(WITHOUT_PYRAGE) from None
    return pyrage
