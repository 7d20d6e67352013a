"""Targetprocess's query language, version 1: `where`, `include` and `append`.

Beware: the language has no `or`, and a doubled quote is an error.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.query import in_id_range

ZONE = timezone(timedelta(hours=1))
"""The time zone of the instance, which applies to dates without one."""

Include = Mapping[str, "Include | None"]
"""The fields to show, by name; for a reference, with the fields to show of the row that it leads to."""

_TOKEN = re.compile(r"""\s*(?:('(?:\\.|[^'\\])*')|([A-Za-z_][\w.\-]*)|(-?\d+(?:\.\d+)?)|([(),]))""")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def bad_request(message: str) -> RefusedError:
    """What to raise for a query that the server doesn't understand."""
    return RefusedError(400, message, name="BadRequest")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of `where`; `path` leads through references."""

    path: tuple[str, ...]
    operator: str
    value: Any


class _Tokens:
    def __init__(self, text: str) -> None:
        self.items: list[str] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise bad_request(f"Error during parameters parsing at '{text[position:]}'.")
            self.items.append(match[0].strip())
            position = match.end()

    def take(self, *expected: str) -> str:
        """Take the next token, which has to be one of the `expected`, if there are any."""
        token = self.items.pop(0) if self.items else ""
        if not token or (expected and token.lower() not in expected):
            raise bad_request(f"Error during parameters parsing: unexpected '{token}' in where.")
        return token

    def next_is(self, *tokens: str) -> bool:
        """Whether the next token is one of these."""
        return bool(self.items) and self.items[0].lower() in tokens


def parse_where(text: str) -> list[Condition]:
    """Parse `where`: conditions joined by `and`, each in parentheses or bare."""
    if not text.strip():
        return []
    tokens = _Tokens(text)
    conditions = _conjunction(tokens)
    if tokens.items:
        raise bad_request(f"Error during parameters parsing: unexpected '{tokens.items[0]}' in where.")
    return conditions


def _conjunction(tokens: _Tokens) -> list[Condition]:
    conditions: list[Condition] = []
    while True:
        if tokens.next_is("("):
            tokens.take()
            conditions += _conjunction(tokens)
            tokens.take(")")
        else:
            conditions.append(_condition(tokens))
        if not tokens.next_is("and"):
            return conditions
        tokens.take()


def _condition(tokens: _Tokens) -> Condition:
    path = tuple(tokens.take().split("."))
    name = tokens.take(*_COMPARISONS, "in", "contains", "not", "is").lower()
    if name == "is":
        negated = tokens.next_is("not") and bool(tokens.take())
        tokens.take("null")
        return Condition(path, "is not null" if negated else "is null", None)
    if name == "not":
        tokens.take("contains")
        return Condition(path, "not contains", _literal(tokens.take()))
    if name == "in":
        return Condition(path, "in", _list(tokens))
    return Condition(path, name, _literal(tokens.take()))


def _list(tokens: _Tokens) -> list[Any]:
    tokens.take("(")
    values = [_literal(tokens.take())]
    while tokens.next_is(","):
        tokens.take()
        values.append(_literal(tokens.take()))
    tokens.take(")")
    return values


def _literal(token: str) -> Any:
    if token.startswith("'"):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if re.fullmatch(r"-?\d+(\.\d+)?", token):
        return float(token) if "." in token else int(token)
    if token.lower() in {"true", "false"}:
        return token.lower() == "true"
    raise bad_request(f"Error during parameters parsing: unexpected '{token}' in where.")


def holds(condition: Condition, value: Any) -> bool:
    """Whether a field's value satisfies a condition."""
    name, wanted = condition.operator, condition.value
    if name in {"is null", "is not null"}:
        return (value is None) == (name == "is null")
    if name in {"contains", "not contains"}:
        contains = str(wanted).casefold() in str(value or "").casefold()
        return contains == (name == "contains")
    if name == "in":
        return any(value == _like(value, literal) for literal in wanted)
    if value is None:
        return name == "ne"
    return _COMPARISONS[name](value, _like(value, wanted))


def _like(value: Any, wanted: Any) -> Any:
    """A literal, converted to the type of the field it is compared with."""
    try:
        if isinstance(value, datetime):
            date = datetime.fromisoformat(str(wanted))
            return date if date.tzinfo else date.replace(tzinfo=ZONE)
        if isinstance(value, bool):
            return str(wanted).lower() == "true"
        return wanted if value is None else type(value)(wanted)
    except ValueError as error:
        raise bad_request(f"Error during parameters parsing: '{wanted}' is not a value of this field.") from error


def narrowed(rows: Sequence[Any], conditions: list[Condition]) -> tuple[Sequence[Any], list[Condition]]:
    """Those of rows sorted by id that the conditions on `Id` allow, and the other conditions."""
    remaining = []
    for condition in conditions:
        if condition.operator in _ID_OPERATORS and _is_id(condition):
            rows = in_id_range(rows, _ID_OPERATORS[condition.operator], condition.value)
        else:
            remaining.append(condition)
    return rows, remaining


_ID_OPERATORS = {"eq": "eq", "gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}


def _is_id(condition: Condition) -> bool:
    return [part.lower() for part in condition.path] == ["id"] and isinstance(condition.value, int)


def parse_include(text: str, name: str = "include") -> dict[str, Include | None]:
    """Parse `[Id,Name,General[Id,EntityType[Name]]]`."""
    tokens = re.findall(r"[\[\],]|[^\[\],\s][^\[\],]*", text.strip())
    if not tokens or tokens[0] != "[":
        raise bad_request(f"Error during parameters parsing: '{name}' has to be a list in brackets.")
    tree = _tree(tokens, name)
    if tokens:
        raise bad_request(f"Error during parameters parsing: unexpected '{tokens[0]}' in {name}.")
    return tree


def _tree(tokens: list[str], name: str) -> dict[str, Include | None]:
    fields: dict[str, Include | None] = {}
    tokens.pop(0)
    while tokens and tokens[0] != "]":
        field = tokens.pop(0).strip()
        if field == ",":
            continue
        fields[field] = _tree(tokens, name) if tokens and tokens[0] == "[" else None
    if not tokens:
        raise bad_request(f"Error during parameters parsing: a bracket is missing in {name}.")
    tokens.pop(0)
    return fields
