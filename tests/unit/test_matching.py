"""Which entity becomes which: rules that find, and that leave alone what they can't tell apart."""

from __future__ import annotations

import json

import pytest

from migrator.mapping.match import Index, field_of, match, normalised, parse_rule
from migrator.model import Entity, EntityRef


def entity(kind: str, number: object, title: str = "", **fields: object) -> Entity:
    return Entity(EntityRef(kind, str(number)), title, "", json.dumps({"id": number, **fields}))


def matched(rules: list[str], sources: list[Entity], targets: list[Entity], taken=()):
    index = Index([parse_rule(name) for name in rules])
    for target in targets:
        index.add(target)
    return {str(one.source): one for one in match(sources, index, taken)}


def rows(found) -> dict[str, str]:
    return {source: str(one.target) for source, one in found.items() if one.target}


def test_equal_titles_match_whatever_their_case_width_and_white_space():
    targets = [entity("Issue", 7, "straße \uff21bc \u2460\u00a0x"), entity("Issue", 8, "other")]
    found = matched(["title"], [entity("Bug", 1, "STRASSE  ABC 1 X ")], targets)
    assert rows(found) == {"Bug 1": "Issue 7"}
    assert (found["Bug 1"].found_by, found["Bug 1"].sure) == ("title", "medium")
    assert normalised("Ⅻ ﬁle\u3000") == normalised("xii FILE")


def test_exactly_equal_titles_of_one_kind_are_sure():
    """As spelled: a letter in another case, or another kind, leaves a doubt, and the words say which."""
    targets = [entity("bug", 7, " Login  page"), entity("Bug", 8, "LOGOUT"), entity("Issue", 9, "Search")]
    sources = [entity("Bug", 1, "Login page"), entity("Bug", 2, "Logout"), entity("Bug", 3, "Search")]
    found = matched(["title"], sources, targets)
    assert {source: (one.sure, one.why) for source, one in found.items()} == {
        "Bug 1": ("high", "the same title"),
        "Bug 2": ("medium", "the same title, the title is spelled differently"),
        "Bug 3": ("medium", "the same title, but Issue is another kind"),
    }


def test_every_match_says_in_words_why():
    targets = [
        entity("Issue", 1, "a"), entity("Issue", 7, "[TP-2] b"),
        Entity(EntityRef("Issue", "8"), "c", "", '{"OldId": 3}'),
    ]  # fmt: skip
    sources = [entity("Issue", 1, "x"), entity("Issue", 2, "y"), entity("Issue", 3, "z")]
    found = matched(["custom:OldId", r"title:TP-(\d+)", "id"], sources, targets)
    assert [one.why for one in found.values()] == [
        "the same id",
        "its title holds the old id",
        "its field OldId holds the old id",
    ]


def test_an_empty_title_matches_nothing():
    found = matched(["title"], [entity("Bug", 1, " ")], [entity("Issue", 7, "")])
    assert rows(found) == {}
    assert found["Bug 1"].candidates == ()


def test_equal_ids_match_and_are_not_very_sure():
    found = matched(["id"], [entity("Bug", 1, "a")], [entity("Issue", 1, "b"), entity("Issue", 11, "a")])
    assert rows(found) == {"Bug 1": "Issue 1"}
    assert found["Bug 1"].sure == "low"


def test_two_rules_that_agree_are_sure_and_are_both_named():
    found = matched(["title", "id"], [entity("Bug", 1, "a")], [entity("Issue", 1, "A"), entity("Issue", 2, "b")])
    assert (found["Bug 1"].found_by, found["Bug 1"].sure) == ("title + id", "high")


def test_the_old_id_is_found_in_the_title_by_a_pattern():
    targets = [entity("Issue", 7, "[TP-4711] Login"), entity("Issue", 8, "[TP-47110] Logout")]
    found = matched([r"title:^\[TP-(\d+)\]"], [entity("Bug", 4711, "x"), entity("Bug", 7)], targets)
    assert rows(found) == {"Bug 4711": "Issue 7"}


@pytest.mark.parametrize(
    "fields",
    [
        {"OldId": 4711},
        {"oldid": " 4711 "},
        {"fields": {"Name": "x", "OldId": "4711"}},
        {"fields": {"tp_OldId_cf": "4711"}},
        {"custom_fields": [{"id": 1, "name": "Other", "value": "1"}, {"id": 2, "name": "OldId", "value": "4711"}]},
        {"CustomFields": [{"Name": "OldId", "Type": "Number", "Value": 4711}]},
        {"custom_fields": [{"code": "CF1", "label": "OldId", "value": "4711"}]},
    ],
)
def test_the_old_id_is_found_in_a_field_wherever_the_tracker_keeps_it(fields):
    found = matched(["custom:OldId"], [entity("Bug", 4711, "x")], [entity("Issue", 7, **fields), entity("Issue", 8)])
    assert rows(found) == {"Bug 4711": "Issue 7"}
    assert found["Bug 4711"].sure == "high"


def test_a_pattern_finds_the_old_id_in_the_value_of_a_field():
    targets = [entity("Issue", 7, description="from https://old.example/entity/4711 in May")]
    found = matched([r"custom:description:entity/(\d+)"], [entity("Bug", 4711)], targets)
    assert rows(found) == {"Bug 4711": "Issue 7"}


@pytest.mark.parametrize(
    "raw", [None, "", "no json", "[]", '"x"', '{"OldId": null}', '{"OldId": {"a": 1}}', '{"name": "OldId"}']
)
def test_json_without_the_field_or_that_is_none_holds_no_old_id(raw):
    assert field_of(raw, "OldId") == ""


def test_several_candidates_are_left_to_a_person_and_named():
    targets = [entity("Issue", 7, "Same"), entity("Issue", 8, "same"), entity("Issue", 9, "other")]
    found = matched(["title"], [entity("Bug", 1, "same")], targets)
    assert rows(found) == {}
    assert [ref.id for ref in found["Bug 1"].candidates] == ["7", "8"]


def test_another_rule_or_the_kind_tells_candidates_apart():
    targets = [entity("Bug", 7, "same"), entity("Story", 8, "same"), entity("Story", 9, "same")]
    sources = [entity("bug", 1, "same"), entity("Task", 9, "same")]
    found = matched(["title", "id"], sources, targets)
    assert rows(found) == {"bug 1": "Bug 7", "Task 9": "Story 9"}
    assert found["Task 9"].sure == "high"


def test_one_target_is_never_given_to_two_sources():
    found = matched(["title"], [entity("Bug", 1, "same"), entity("Bug", 2, "Same")], [entity("Issue", 7, "same")])
    assert rows(found) == {}
    assert [str(one.candidates[0]) for one in found.values()] == ["Issue 7", "Issue 7"]


def test_the_earlier_rule_wins_a_target_that_two_want():
    sources = [entity("Bug", 7, "by id"), entity("Bug", 1, "by title")]
    found = matched(["title", "id"], sources, [entity("Issue", 7, "By Title")])
    assert rows(found) == {"Bug 1": "Issue 7"}


@pytest.mark.parametrize("taken", [EntityRef("Issue", "7"), EntityRef("", "7")])
def test_a_target_that_has_a_source_already_is_not_given_away(taken):
    found = matched(["title"], [entity("Bug", 1, "a")], [entity("Issue", 7, "a")], [taken])
    assert rows(found) == {}
    assert "already" in found["Bug 1"].why


def test_a_listing_that_repeats_an_entity_makes_it_no_candidate_twice():
    found = matched(["title"], [entity("Bug", 1, "a")], [entity("Issue", 7, "a")] * 3)
    assert rows(found) == {"Bug 1": "Issue 7"}


def test_thousands_of_equal_titles_are_told_apart_by_their_ids_in_time():
    """Quadratic work would take hours here, not seconds."""
    count = 20_000
    sources = [entity("Bug", number, "same") for number in range(count)]
    targets = [entity("Issue", number, "same") for number in range(count)]
    assert len(rows(matched(["title", "id"], sources, targets))) == count
    hopeless = matched(["title"], sources, targets)
    assert rows(hopeless) == {}
    assert all(len(one.candidates) == 20 for one in hopeless.values())


@pytest.mark.parametrize("written", ["", "titel", "custom", "custom:", "custom: ", "title:", "title:(", "custom:a:["])
def test_what_is_no_rule_is_refused(written):
    with pytest.raises(ValueError, match=r"rule|pattern"):
        parse_rule(written)
