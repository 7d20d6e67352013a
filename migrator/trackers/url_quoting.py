"""Percent-encoding of addresses that a tracker wrote into a text or an answer."""

from __future__ import annotations

import re
from urllib.parse import quote

_ALLOWED = "%/:?#[]@!$&'()*+,;=~"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def encoded_once(address: str) -> str:
    """The address with all characters encoded that an address can't contain; what is encoded already stays.

    A `%` before anything but two hex digits belongs to a name, as in `50% off.png`, and is encoded.
    """
    return quote(_BARE_PERCENT.sub("%25", address), safe=_ALLOWED)
