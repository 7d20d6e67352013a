"""The query strings of Trac: conditions on fields, the order, and the page, such as `status!=closed&order=id&max=0`.

Beware: without a `max`, no more than a page comes, and nothing says that there is more.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

from migrator.sandbox.errors import RefusedError

T = TypeVar("T")

_PART = re.compile(r"([^=]*?)(!?[~^$]?)=(.*)", re.DOTALL)
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "": lambda value, wanted: value == wanted,
    "~": lambda value, wanted: wanted.lower() in value.lower(),
    "^": lambda value, wanted: value.lower().startswith(wanted.lower()),
    "$": lambda value, wanted: value.lower().endswith(wanted.lower()),
}


def failed(reason: str, code: int = -32603) -> RefusedError:
    """An error inside of an answer, with the code of JSON-RPC or of the HTTP status that it stands for."""
    return RefusedError(code, reason)


@dataclass(slots=True)
class Query:
    """A query: conditions by field and operator, any of whose values may hold."""

    conditions: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    order: str = "priority"
    descending: bool = False
    most: int | None = None
    page: int = 1

    def in_range(self, number: int) -> bool:
        """Whether the number of a ticket is among those that the query names, if it names any."""
        return not self.ranges or any(first <= number <= last for first, last in self.ranges)

    def admits(self, fields: Mapping[str, str]) -> bool:
        """Whether the fields of a ticket meet all conditions. A field that doesn't exist is no condition."""
        return all(
            any(_TESTS[operator.lstrip("!")](fields[name], value) for value in values) is not operator.startswith("!")
            for (name, operator), values in self.conditions.items()
            if name in fields
        )

    def cut(self, found: Sequence[T], usual: int, *, obeys_max: bool) -> Sequence[T]:
        """The requested page; an error if it is beyond the last one, unless one page holds all."""
        most = usual if self.most is None or not obeys_max else self.most
        if not most or len(found) <= most:
            return found
        if self.page > ceil(len(found) / most):
            raise failed(f"Page {self.page} is beyond the number of pages in the query")
        return found[most * (self.page - 1) : most * self.page]


def parsed(text: str) -> Query:
    """The query that a string says."""
    query = Query()
    for part in text.split("&"):
        match = _PART.fullmatch(part)
        if match is None:
            raise failed('Query filter requires field and constraints separated by a "="')
        name, operator, value = match.groups()
        _add(query, name, operator, value)
    return query


def _add(query: Query, name: str, operator: str, value: str) -> None:
    if name == "id":
        query.ranges += [_range(one) for one in value.split(",")]
    elif name == "order":
        query.order = value
    elif name == "desc":
        query.descending = value == "1"
    elif name == "max":
        query.most = _number(value, "max")
    elif name == "page":
        query.page = _number(value, "page") or 1
    else:
        query.conditions.setdefault((name, operator), []).extend(value.split("|"))


def _range(text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise failed("Invalid query constraint value")
    return int(match[1]), int(match[2] or match[1])


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise failed(f"Query {name} {text} is invalid.")
    return int(text)
