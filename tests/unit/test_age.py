"""Encryption while something is sent: in constant memory, and without a thread that stays behind."""

from __future__ import annotations

import threading
from itertools import count, islice

import pyrage
import pytest

from migrator.store.objects import age

KEY = pyrage.x25519.Identity.generate()
TO = [KEY.to_public()]
MIB = 1024 * 1024


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "age"]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3 * MIB + 1])
def test_what_is_encrypted_comes_back(size):
    content = bytes(index % 251 for index in range(size))
    chunks = (content[at : at + 10_000] for at in range(0, size, 10_000))
    there = [*age.encrypted(chunks, TO)]
    assert pyrage.decrypt(b"".join(there), [KEY]) == content
    assert b"".join(age.decrypted(iter(there), [KEY])) == content
    assert b"".join(age.decrypted(iter([age.encrypt(content, TO)]), [KEY])) == content


def test_the_size_of_what_is_encrypted_is_known_to_a_few_hundred_bytes():
    for size in (0, 1, 65_536, 65_537, MIB):
        for _ in range(100):
            there = len(age.encrypt(bytes(size), TO))
            assert age.may_be_size(there, size)
            assert not age.may_be_size(there - 600, size)
        assert age.may_be_size(len(age.encrypt(bytes(size), TO * 20)), size)


def test_no_more_is_read_than_is_taken():
    taken = count()
    chunks = (bytes(MIB) for _ in iter(lambda: next(taken), 100))
    encrypted = age.encrypted(chunks, TO)
    assert len(b"".join(islice(encrypted, 80))) > 4 * MIB
    assert next(taken) < 10
    encrypted.close()
    assert threads() == []


def test_an_error_of_what_is_read_is_the_error():
    def cut():
        yield bytes(100)
        raise ConnectionError("cut off")

    with pytest.raises(ConnectionError, match="cut off"):
        b"".join(age.encrypted(cut(), TO))
    with pytest.raises(ConnectionError, match="cut off"):
        b"".join(age.decrypted(cut(), [KEY]))
    assert threads() == []


@pytest.mark.parametrize("at", [0, 60, 300, 70_000, -1])
def test_a_changed_byte_is_found_anywhere(at):
    there = bytearray(age.encrypt(bytes(200_000), TO))
    there[at] ^= 1
    with pytest.raises(age.UndecryptableError, match="can't be decrypted"):
        b"".join(age.decrypted(iter([bytes(there)]), [KEY]))
    with pytest.raises(age.UndecryptableError, match="can't be decrypted"):
        b"".join(age.decrypted(iter([age.encrypt(bytes(200_000), TO)[:-1]]), [KEY]))
