"""Rules that find the likely target entity of each source entity, as pure functions.

Each rule has a table of the target entities by a key, in which it looks up the key of a source entity. So matching
100,000 entities with 100,000 takes seconds, and only names, keys, titles and addresses of target entities are kept.

Beware: a wrong row is worse than none. An entity with two candidates, or one that competes with another for the same
target, is `ambiguous`: a person has to decide, unless another rule or the kind settles it.

The rules, as [mapping] names them:

    title             equal titles, after NFKC, case folding and collapsing white space
    id                equal ids
    title:PATTERN     the source's id is what PATTERN (a regular expression, its first group) finds in the title
    custom:FIELD      the source's id is the value of a field in the target's JSON: a key, or a custom field's name
    custom:FIELD:PATTERN    the same, with PATTERN to find the id in the value
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.model import Entity, EntityRef

CONFIDENCE = {"title": "medium", "id": "low", "title:": "medium", "custom:": "high"}
"""How sure a match by this rule alone is. If two rules agree, or title and kind are exactly equal, it is `high`."""

MAX_CANDIDATES = 20
"""The most candidates of an entity that are shown."""

_NAME_KEYS = ("name", "label", "code", "fieldname")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name as configured, how sure it is, its words, and functions for the key of either side's entity."""

    name: str
    sure: str
    words: str
    of_source: Callable[[Entity], str]
    of_target: Callable[[Entity], str]


@dataclass(frozen=True, slots=True)
class Match:
    """The result for one source entity: a target, or `candidates` for a person to choose from, or neither.

    `why` says in words why this is the target, or why there is none.
    """

    source: EntityRef
    target: EntityRef | None = None
    found_by: str = ""
    sure: str = ""
    candidates: tuple[EntityRef, ...] = ()
    why: str = ""


def parse_rule(written: str) -> Rule:
    """The rule of this name; `ValueError` says what is wrong with the name."""
    head, _, rest = written.partition(":")
    if written == "title":
        return Rule(written, CONFIDENCE["title"], "the same title", _title, _title)
    if written == "id":
        return Rule(written, CONFIDENCE["id"], "the same id", _id, _id)
    if head == "title" and rest:
        id_in = _pattern(rest)
        words = "its title holds the old id"
        return Rule(written, CONFIDENCE["title:"], words, _id, lambda entity: id_in(entity.title))
    if head == "custom" and rest:
        field, colon, pattern = rest.partition(":")
        if field.strip():
            id_in = _pattern(pattern) if colon else str.strip
            words = f"its field {field.strip()} holds the old id"
            return Rule(written, CONFIDENCE["custom:"], words, _id, lambda entity: id_in(field_of(entity.raw, field)))
    raise ValueError(f'unknown rule {written!r}; choose from "title", "id", "title:PATTERN", "custom:FIELD"')


def _pattern(written: str) -> Callable[[str], str]:
    try:
        pattern = re.compile(written)
    except re.error as error:
        raise ValueError(f"the pattern {written!r} is not a valid regular expression: {error}") from None

    def id_in(text: str) -> str:
        match = pattern.search(text)
        if match is None:
            return ""
        return (match[1] if pattern.groups else match[0]) or ""

    return id_in


def _title(entity: Entity) -> str:
    return normalised(entity.title)


def _id(entity: Entity) -> str:
    return entity.ref.id


def normalised(title: str) -> str:
    """A key that is equal for titles that mean the same."""
    if title.isascii():
        return " ".join(title.casefold().split())
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", title).casefold()).split())


def field_of(raw: str | None, field: str) -> str:
    """The value of a field, as text, wherever it is in a tracker's JSON; empty if there is none.

    It finds `{"OldId": 7}`, `{"fields": {"OldId": 7}}`, `{"CustomFields": [{"Name": "OldId", "Value": 7}]}` and
    TeamPulse's `tp_OldId_cf`; of several, the outermost.
    """
    wanted = field.strip().casefold()
    try:
        level: list[Any] = [[json.loads(raw or "null")]]
    except (ValueError, RecursionError):
        return ""
    while level:
        for node in level:
            if isinstance(node, dict) and (value := _named(node, wanted)):
                return value
        inner = (item for node in level for item in (node.values() if isinstance(node, dict) else node))
        level = [item for item in inner if isinstance(item, dict | list)]
    return ""


def _named(node: Mapping[str, Any], wanted: str) -> str:
    """The value that an object has for a field, under its name or beside it; empty if there is none."""
    named = False
    for key, value in node.items():
        folded = key.casefold()
        if folded == wanted or folded == f"tp_{wanted}_cf":
            if text := _scalar(value):
                return text
        elif folded in _NAME_KEYS and isinstance(value, str) and value.casefold() == wanted:
            named = True
    return _scalar(node.get("value", node.get("Value"))) if named else ""


def _scalar(value: object) -> str:
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if is_scalar else ""


@dataclass(frozen=True, slots=True)
class Label:
    """What a person knows an entity by."""

    title: str
    url: str


class Index:
    """The target's entities, by the keys that the rules give them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._labels: dict[EntityRef, Label] = {}
        self._keyed: list[dict[str, list[EntityRef]]] = [defaultdict(list) for _ in rules]
        self._sets: dict[int, frozenset[EntityRef]] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, entity: Entity) -> None:
        """Add an entity; adding it again changes nothing."""
        if entity.ref in self._labels:
            return
        self._labels[entity.ref] = Label(entity.title, entity.url)
        for rule, table in zip(self._rules, self._keyed, strict=True):
            if key := rule.of_target(entity):
                table[key].append(entity.ref)

    def label(self, ref: EntityRef) -> Label:
        """Title and address of an entity of the target."""
        return self._labels[ref]

    def best(self, entity: Entity) -> tuple[int, Match]:
        """The match by the first rule that finds anything; other rules and the kind choose among its candidates."""
        pairs = zip(self._rules, self._keyed, strict=True)
        by_rule: list[Sequence[EntityRef]] = [table.get(rule.of_source(entity), ()) for rule, table in pairs]
        first = next((number for number, refs in enumerate(by_rule) if refs), len(by_rule))
        if first == len(by_rule):
            return first, Match(entity.ref, why="nothing similar at the target")
        candidates: Sequence[EntityRef] = by_rule[first]
        if len(candidates) > 1:
            candidates = self._narrowed(candidates, by_rule[first + 1 :], entity.ref.kind)
        if len(candidates) > 1:
            why = f"{len(candidates)} candidates by {self._rules[first].name}"
            return first, Match(entity.ref, candidates=tuple(candidates[:MAX_CANDIDATES]), why=why)
        return first, self._matched(entity, candidates[0], by_rule, first)

    def _narrowed(
        self, original: Sequence[EntityRef], others: Sequence[Sequence[EntityRef]], kind: str
    ) -> Sequence[EntityRef]:
        """The candidates on which the other rules agree, rule by rule, and then those of the same kind.

        A rule that agrees on none of them is ignored, and so is the kind. `others` are the candidates of other rules.
        """
        candidates = original
        for other in others:
            # Go through the shorter list, and look its items up in the longer one.
            if len(candidates) <= len(other):
                common = [ref for ref in candidates if ref in self._as_set(other)]
            else:
                known = self._as_set(candidates) if candidates is original else frozenset(candidates)
                common = [ref for ref in other if ref in known]
            candidates = common or candidates
        if 1 < len(candidates) <= MAX_CANDIDATES:
            candidates = [ref for ref in candidates if ref.kind.casefold() == kind.casefold()] or candidates
        return candidates

    def _as_set(self, refs: Sequence[EntityRef]) -> Collection[EntityRef]:
        """A list of the table as a set. Large ones are kept, because thousands of entities may share one title."""
        if len(refs) <= MAX_CANDIDATES:
            return refs
        if id(refs) not in self._sets:
            self._sets[id(refs)] = frozenset(refs)
        return self._sets[id(refs)]

    def _matched(self, source: Entity, target: EntityRef, by_rule: Sequence[Sequence[EntityRef]], first: int) -> Match:
        agreeing = [number for number, refs in enumerate(by_rule) if refs and target in self._as_set(refs)]
        rules = [self._rules[number] for number in agreeing]
        same_kind = source.ref.kind.casefold() == target.kind.casefold()
        exact = same_kind and _bare(source.title) == _bare(self._labels[target].title) != ""
        by_title = any(rule.name == "title" for rule in rules)
        sure = "high" if len(rules) > 1 or (by_title and exact) else self._rules[first].sure
        words = [rule.words for rule in rules] + ([] if same_kind else [f"but {target.kind} is another kind"])
        words += ["the title is spelled differently"] if by_title and same_kind and not exact else []
        return Match(source.ref, target, " + ".join(rule.name for rule in rules), sure, why=", ".join(words))


def _bare(title: str) -> str:
    return " ".join(title.split())


def match(entities: Iterable[Entity], index: Index, taken: Iterable[EntityRef] = ()) -> Iterator[Match]:
    """A match for each source entity; no target is used twice, nor one that is `taken`.

    If two source entities want the same target, the one matched by the earlier rule gets it; if both were matched by
    the same rule, neither does.
    """
    best = [index.best(entity) for entity in entities]
    taken = set(taken)
    wanted: dict[EntityRef, list[int]] = defaultdict(list)
    for rule_number, candidate in best:
        if candidate.target is not None:
            wanted[candidate.target].append(rule_number)
    for rule_number, candidate in best:
        if candidate.target is None:
            yield candidate
            continue
        rivals = sorted(wanted[candidate.target])
        # A row of the mapping may leave the target kind empty.
        if candidate.target in taken or EntityRef("", candidate.target.id) in taken:
            yield _refused(candidate, f"{candidate.target} already has a source")
        # The rivals include this candidate: another is by an earlier rule, or a second one by the same rule.
        elif rivals[0] < rule_number or rivals[1:2] == [rule_number]:
            yield _refused(candidate, f"{candidate.target} is proposed for {len(rivals)}")
        else:
            yield candidate


def _refused(candidate: Match, why: str) -> Match:
    return Match(
        candidate.source,
        candidates=(candidate.target,) if candidate.target else (),
        why=f"{why}; by {candidate.found_by}",
    )
