"""Takes credentials out of texts: out of the error that answers a request, and out of messages that are sent."""

from __future__ import annotations

import html
import json
from base64 import b64decode
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import quote

from yarl import URL

from migrator.wire.auth import Signature

MIN_SECRET_CHARACTERS = 4


def without_credentials(body: bytes, signature: Signature) -> bytes:
    """The body with the secrets of the signature replaced by asterisks, however they are spelled."""
    secrets = {part for value in (*signature.headers.values(), *signature.query.values()) for part in _parts(value)}
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        body = body.replace(spelling.encode(), b"***")
    return body


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with these replaced by asterisks, however they are spelled; a cookie or a pair also by its parts."""
    for spelling in spelled(secrets):
        text = text.replace(spelling, "***")
    return text


def spelled(secrets: Iterable[str]) -> list[str]:
    """Each way in which these may be written, the longest first; of a cookie or a pair also its second part.

    Beware: what has fewer than MIN_SECRET_CHARACTERS is left out, as it may be part of any word.
    """
    parts = {part for secret in secrets for part in (secret, secret.partition("=")[2])}
    spellings = {spelling for part in parts if len(part) >= MIN_SECRET_CHARACTERS for spelling in _spellings(part)}
    return sorted(spellings, key=len, reverse=True)


def _parts(value: str) -> list[str]:
    """The secrets in a header or parameter: the whole value, what follows a scheme or name, what Basic encodes."""
    scheme, _, rest = value.partition(" ")
    parts = [value, rest, rest.partition("=")[2].strip('"')]
    if scheme == "Basic":
        with suppress(ValueError):
            pair = b64decode(rest).decode()
            parts += [pair, pair.partition(":")[2]]
    return [part for part in parts if part.strip("=")]


def _spellings(secret: str) -> tuple[str, ...]:
    """The secret as it is, and as it is written in addresses, in HTML and in JSON."""
    in_query = URL.build(query={"a": secret}).raw_query_string[2:]
    return secret, quote(secret), quote(secret, safe=""), in_query, html.escape(secret), json.dumps(secret)[1:-1]
