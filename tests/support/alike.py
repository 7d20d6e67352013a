"""What the answers of a server say in general: to hold a sandbox against what the real server was recorded to answer.

The same requests are sent to both. `MIGRATOR_RECORD=1` beside a real server records its answers again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp

FIXTURES = Path(__file__).parents[1] / "fixtures"
_ADDRESS = re.compile(r"https?://[^/\s\"]+")
_PATH = re.compile(r"(/[\w.-]+){4,}(?= )")
_HASH = re.compile(r"\b[0-9a-z]{32}\b")
_NUMBER = re.compile(r"\d+(\.\d+)?")


class Answers:
    """The answers to a row of requests, one after the other.

    The `word` is what was made up for this row; what `random` finds is what the server made up.
    """

    def __init__(self, word: str, random: str = r"(?!)") -> None:
        self._word, self._random = word, re.compile(random)
        self.told: list[dict[str, Any]] = []

    async def add(self, answer: aiohttp.ClientResponse, asked: str) -> None:
        """Remember an answer: its status, its type, and its body without what differs between servers."""
        body: Any = await answer.read()
        if answer.content_type == "application/json":
            body = json.loads(body)
        elif answer.content_type == "text/html":
            body = "a page"
        else:
            body = _PATH.sub("PATH", body.decode("latin-1"))
        told = {"asked": asked, "type": answer.content_type, "body": body}
        self.told.append({**self._in_general(told), "status": answer.status})

    def _in_general(self, value: Any) -> Any:
        """A value without numbers, addresses and hashes; of a list, its different items."""
        if isinstance(value, dict):
            return {key: self._in_general(item) for key, item in sorted(value.items())}
        if isinstance(value, list):
            seen = [self._in_general(item) for item in value]
            return [item for place, item in enumerate(seen) if item not in seen[:place]]
        if isinstance(value, str):
            value = _ADDRESS.sub("ADDRESS", self._random.sub("RANDOM", value.replace(self._word, "WORD")))
            return _NUMBER.sub("N", _HASH.sub("HASH", value))
        return value if value is None or isinstance(value, bool) else "N"


def record(tracker: str, answers: Iterable[dict[str, Any]]) -> None:
    """Keep what a real server answered, if that is wanted."""
    if os.environ.get("MIGRATOR_RECORD"):
        lines = ",\n".join(json.dumps(answer, ensure_ascii=False, sort_keys=True) for answer in answers)
        (FIXTURES / tracker / "answers.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def recorded(tracker: str) -> list[dict[str, Any]]:
    """What a real server answered."""
    answers: list[dict[str, Any]] = json.loads((FIXTURES / tracker / "answers.json").read_text(encoding="utf-8"))
    return answers
