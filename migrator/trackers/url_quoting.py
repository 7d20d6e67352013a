"""Addresses that a tracker wrote into a text or an answer, as they may be sent."""

from __future__ import annotations

import re
from urllib.parse import quote

_ALLOWED = "%/:?#[]@!$&'()*+,;=~"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def encoded_once(address: str) -> str:
    """The address in percent-encoding, once: what is encoded stays, and what no address can hold is encoded.

    A `%` before anything but two hex digits is a `%` of a name, as in `50% off.png`.
    """
    return quote(_BARE_PERCENT.sub("%25", address), safe=_ALLOWED)
