"""The searches of Request Tracker, such as `Queue = 'Support' AND (id > 7 OR Status = '__Active__')`."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from migrator.sandbox.errors import RefusedError

Record = Mapping[str, Any]
Condition = Callable[[Record], bool]

_TOKEN = re.compile(
    r"""\s*(?: (?P<PAREN>[()])
      | (?P<AGGREGATOR>(?:AND|OR)\b)
      | (?P<OPERATOR>!=|>=|<=|=|>|<|(?:NOT\s+)?LIKE\b)
      | (?P<VALUE>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[0-9]+)
      | (?P<KEYWORD>[\w.]+) )""",
    re.VERBOSE | re.IGNORECASE,
)
_COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
INACTIVE = {"resolved", "rejected", "deleted"}


def search(text: str, known: frozenset[str]) -> Condition:
    """The condition that a search says of records with these fields; `RefusedError` if it says none."""
    return _Parser(text, known).parsed()


class _Parser:
    def __init__(self, text: str, known: frozenset[str]) -> None:
        self._text, self._known = text, known
        self._tokens: list[tuple[str, str, int]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise _wrong(f"Wrong query, unknown token in '{text[:position]}>{text[position:]}<--here'")
            name = match.lastgroup or ""
            self._tokens.append((name, match[name], match.start(name)))
            position = match.end()

    def parsed(self) -> Condition:
        if not self._tokens:
            return lambda _: False
        unclosed = sum({"(": 1, ")": -1}.get(text, 0) for name, text, _ in self._tokens if name == "PAREN")
        last, text, _ = self._tokens[-1]
        if last not in {"VALUE", "KEYWORD"} and text != ")":
            raise _wrong(f"Incomplete query, last element ({last}) is not close paren or value in '{self._text}'")
        condition = self._any()
        if self._tokens:
            raise self._unexpected("AGGREGATOR")
        if unclosed:
            raise _wrong(f"Incomplete query, {unclosed} unclosed paren in '{self._text}'")
        return condition

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._takes("AGGREGATOR", "OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda record: any(part(record) for part in parts)

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._takes("AGGREGATOR", "AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda record: all(part(record) for part in parts)

    def _one(self) -> Condition:
        if self._takes("PAREN", "("):
            inner = self._any()
            self._takes("PAREN", ")")
            return inner
        name, sign, value = self._next("KEYWORD"), self._next("OPERATOR"), self._next("VALUE")
        if name not in self._known:
            raise _wrong(f"Unknown field: {name}")
        wanted = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] in "'\"" else value
        holds = _test(" ".join(sign.upper().split()), wanted)
        return lambda record: holds(record[name])

    def _takes(self, name: str, text: str) -> bool:
        if self._tokens and self._tokens[0][0] == name and self._tokens[0][1].upper() == text:
            self._tokens.pop(0)
            return True
        return False

    def _next(self, name: str) -> str:
        if not self._tokens or self._tokens[0][0] != name:
            raise self._unexpected(name)
        return self._tokens.pop(0)[1]

    def _unexpected(self, wanted: str) -> RefusedError:
        if not self._tokens:
            return _wrong(f"Incomplete query, expecting a {wanted} in '{self._text}'")
        name, text, at = self._tokens[0]
        if name == "KEYWORD" and wanted == "VALUE":
            return _wrong(f"Wrong query, no such column '{text}' in '{self._text}'")
        return _wrong(f"Wrong query, expecting a {wanted} in '{self._text[:at]}>{self._text[at:]}<--here'")


def _wrong(reason: str) -> RefusedError:
    return RefusedError(400, reason)


def _test(sign: str, wanted: str) -> Callable[[Any], bool]:
    """Whether a comparison holds of a value: a number, a text, or several texts of which any may be meant."""
    compared, number, sought = _COMPARISONS.get(sign), int(wanted) if wanted.isdecimal() else None, wanted.lower()

    def holds(value: Any) -> bool:
        if isinstance(value, int):
            return compared is not None and number is not None and bool(compared(value, number))
        texts = [text.lower() for text in ([value] if isinstance(value, str) else value)]
        if sought in {"__active__", "__inactive__"}:
            return (texts[0] in INACTIVE) is (sought == "__inactive__")
        if sign.endswith("LIKE"):
            return any(sought in text for text in texts) is (sign == "LIKE")
        if sign in {"=", "!="}:
            return (sought in texts) is (sign == "=")
        return compared is not None and bool(compared(texts[0], sought))

    return holds
