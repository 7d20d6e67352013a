"""The part of OData that TeamPulse understands: `$filter` and `$orderby`.

A filter becomes one function of a record. If it does nothing but compare the id, it also has a range of ids, so that
keyset paging need not look at every record.

Beware: field names are accepted in any case, and those inside of `fields` stand without that prefix.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migrator.sandbox.errors import RefusedError

Record = Mapping[str, Any]
Test = Callable[[Record], bool]

_TOKEN = re.compile(r"""\s*(DateTime'[^']*'|'(?:[^']|'')*'|-?\d+(?:\.\d+)?|[A-Za-z_]\w*|[(),])""")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "gt", "ge", "lt", "le")
}


def bad_query(parameter: str, message: str) -> RefusedError:
    """What to raise for a query that the server doesn't understand."""
    return RefusedError(400, **{parameter: message})


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter; `id_range` is set if it does nothing but compare the id with a number."""

    test: Test
    id_range: tuple[str, int] | None = None


def parse_filter(text: str, known: Collection[str]) -> Filter:
    """Parse a `$filter` over these field names (in lower case)."""
    parser = _Parser(text, known)
    test = parser.either()
    parser.end()
    bare = re.fullmatch(r"\s*\(?\s*id\s+(gt|ge|lt|le)\s+(\d+)\s*\)?\s*", text, re.IGNORECASE)
    return Filter(test, (bare[1].lower(), int(bare[2])) if bare else None)


class _Parser:
    def __init__(self, text: str, known: Collection[str]) -> None:
        self.tokens: list[str] = []
        self.known = known
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise bad_query("$filter", f"Syntax error at position {position}.")
            self.tokens.append(match[1])
            position = match.end()

    def end(self) -> None:
        """Raise if anything is left."""
        if self.tokens:
            raise bad_query("$filter", f"Unexpected '{self.tokens[0]}'.")

    def either(self) -> Test:
        """Parse conditions joined by `or`."""
        tests = [self._both()]
        while self._skip("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)

    def _both(self) -> Test:
        tests = [self._term()]
        while self._skip("and"):
            tests.append(self._term())
        return tests[0] if len(tests) == 1 else lambda record: all(test(record) for test in tests)

    def _term(self) -> Test:
        if self._skip("("):
            inner = self.either()
            self._expect(")")
            return inner
        word = self._take().lower()
        if word in {"startswith", "substringof"}:
            return self._call(word)
        name = self._field(word)
        compare = _COMPARISONS.get(self._take().lower())
        if compare is None:
            raise bad_query("$filter", f"'{name}' has to be compared with something.")
        wanted = _literal(self._take())
        return lambda record: _compared(compare, record.get(name), wanted)

    def _call(self, function: str) -> Test:
        self._expect("(")
        first = self._take()
        self._expect(",")
        second = self._take()
        self._expect(")")
        name, wanted = (first, second) if function == "startswith" else (second, first)
        name, part = self._field(name.lower()), str(_literal(wanted)).lower()
        if function == "startswith":
            return lambda record: str(record.get(name) or "").lower().startswith(part)
        return lambda record: part in str(record.get(name) or "").lower()

    def _field(self, name: str) -> str:
        if name not in self.known:
            raise bad_query("$filter", f"There is no field '{name}'.")
        return name

    def _take(self) -> str:
        if not self.tokens:
            raise bad_query("$filter", "The filter ends too early.")
        return self.tokens.pop(0)

    def _skip(self, token: str) -> bool:
        if self.tokens and self.tokens[0].lower() == token:
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise bad_query("$filter", f"'{token}' is missing.")


def _literal(token: str) -> Any:
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    if token.lower().startswith("datetime'"):
        return _date(token[9:-1])
    if re.fullmatch(r"-?\d+(\.\d+)?", token):
        return float(token) if "." in token else int(token)
    words = {"null": None, "true": True, "false": False}
    if token.lower() not in words:
        raise bad_query("$filter", f"'{token}' is not a value.")
    return words[token.lower()]


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_query("$filter", f"'{text}' is not a date.") from error


def _compared(compare: Callable[[Any, Any], bool], value: Any, wanted: Any) -> bool:
    if isinstance(wanted, datetime) and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if value is None or wanted is None:
        return compare in {operator.eq, operator.ne} and compare(value, wanted)
    if isinstance(value, str) != isinstance(wanted, str):
        raise bad_query("$filter", f"'{wanted}' does not compare with '{value}'.")
    return compare(value, wanted)


def parse_order(text: str, known: Collection[str]) -> list[tuple[str, bool]]:
    """Parse an `$orderby` into (field, descending) pairs, the most important first."""
    order = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)(?:\s+(asc|desc))?\s*", part, re.IGNORECASE)
        if match is None or match[1].lower() not in known:
            raise bad_query("$orderby", f"Cannot order by '{part}'.")
        order.append((match[1].lower(), (match[2] or "").lower() == "desc"))
    return order


def flat(record: Record) -> dict[str, Any]:
    """A record's values by lower-case name, including those of its `fields`."""
    inner = record.get("fields", {})
    return {name.lower(): value for name, value in {**inner, **record}.items() if name != "fields"}


def sort_key(value: Any) -> tuple[bool, Any]:
    """A key that sorts nulls before everything else."""
    return (value is not None, 0 if value is None else value)
