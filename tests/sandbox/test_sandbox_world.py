import re
import statistics
from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from migrator.sandbox.world.model import BLOCK_BYTES, World, WorldAttachment


def by_entity(world: World) -> dict[int, list[WorldAttachment]]:
    groups: dict[int, list[WorldAttachment]] = defaultdict(list)
    for attachment in world.attachments:
        if attachment.entity_id is not None:
            groups[attachment.entity_id].append(attachment)
    return groups


def named(world: World, name: str) -> list[WorldAttachment]:
    return [attachment for attachment in world.attachments if attachment.name == name]


def test_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    assert World.generate(entities=20, seed=4) == World.generate(entities=20, seed=4)
    assert World.generate(entities=20, seed=4) != World.generate(entities=20, seed=5)


def test_contents_are_the_same_each_time_and_as_long_as_told(world: World) -> None:
    for attachment in world.attachments:
        content = world.content(attachment)
        assert len(content) == attachment.size
        assert content == world.content(attachment)


def test_contents_depend_on_the_seed() -> None:
    one, other = (World.generate(entities=20, seed=1) for _ in range(2))
    different = World.generate(entities=20, seed=2)
    assert one.content(one.attachments[0]) == other.content(other.attachments[0])
    assert one.content(one.attachments[0])[:32] != different.content(different.attachments[0])[:32]


def test_a_world_has_several_hundred_entities_of_five_kinds(world: World) -> None:
    assert len(world.entities) == 300
    assert len({entity.id for entity in world.entities}) == 300
    assert {entity.kind for entity in world.entities} == {"story", "bug", "task", "feature", "request"}


def test_many_entities_have_nothing_and_one_has_over_a_hundred(world: World) -> None:
    counts = Counter(len(world.attachments_of(entity.id)) for entity in world.entities)
    assert counts[0] > 100
    assert max(counts) > 100
    assert sorted(counts)[-2] < 100


@pytest.mark.parametrize("total", [0, 1, 7, 50, 5000])
def test_a_world_has_exactly_as_many_attachments_as_asked_for(total: int) -> None:
    assert len(World.generate(entities=40, attachments=total).attachments) == total


def test_a_hundred_thousand_attachments_are_made_within_seconds() -> None:
    world = World.generate(entities=1_000, attachments=100_000)
    assert [attachment.id for attachment in world.attachments] == list(range(1, 100_001))
    assert len(world.content(world.attachments[-1])) == world.attachments[-1].size


@pytest.mark.parametrize(
    "part",
    [
        "報告書",
        "🐛",
        "תיעוד",
        "\u202e",
        '"',
        "'",
        ";",
        "%41",
        "../../evil.txt",
        "\\",
        "?",
        "<",
        "Übersicht",
        "e\u0301",
    ],
)
def test_some_name_holds(world: World, part: str) -> None:
    assert any(part in attachment.name for attachment in world.attachments)


def test_some_names_are_long_or_start_with_a_dot(world: World) -> None:
    assert any(len(attachment.name) > 200 for attachment in world.attachments)
    assert any(200 < len(attachment.name.encode()) <= 255 for attachment in world.attachments)
    assert any(attachment.name.startswith(".") and attachment.name != ".." for attachment in world.attachments)


def test_some_names_on_one_entity_differ_only_by_case(world: World) -> None:
    pairs = [
        (one, other)
        for files in by_entity(world).values()
        for one in files
        for other in files
        if one.name != other.name and one.name.casefold() == other.name.casefold()
    ]
    assert pairs
    assert all(world.content(one) != world.content(other) for one, other in pairs)


def test_equal_names_on_one_entity_have_different_or_equal_contents(world: World) -> None:
    log, other_log = named(world, "log.txt")
    twin, other_twin = named(world, "twin.txt")
    assert log.entity_id == other_log.entity_id
    assert world.content(log) != world.content(other_log)
    assert twin.entity_id == other_twin.entity_id
    assert world.content(twin) == world.content(other_twin)


def test_some_files_are_empty_and_one_is_large(world: World) -> None:
    assert any(attachment.size == 0 and world.content(attachment) == b"" for attachment in world.attachments)
    assert sum(attachment.size == 3_000_000 for attachment in world.attachments) == 1
    assert all(attachment.size < 3_000_000 for attachment in World.generate(median_bytes=50, large_bytes=0).attachments)


def test_only_intended_contents_are_shared(world: World) -> None:
    contents: dict[bytes, list[str]] = defaultdict(list)
    owners: dict[bytes, set[int | None]] = defaultdict(set)
    for attachment in world.attachments:
        contents[world.content(attachment)].append(attachment.name)
        owners[world.content(attachment)].add(attachment.entity_id)
    shared = {names[0] for names in contents.values() if len(names) > 1}
    assert shared == {"twin.txt", "logo.png", "empty.txt"}
    assert any(names[0] == "logo.png" and len(owners[content]) > 2 for content, names in contents.items())


def test_a_large_content_comes_in_blocks_that_differ(world: World) -> None:
    large = max(world.attachments, key=lambda attachment: attachment.size)
    chunks = list(world.chunks(large))
    assert all(len(chunk) <= BLOCK_BYTES for chunk in chunks)
    assert len(set(chunks)) == len(chunks) > 40


def test_a_two_gigabyte_file_costs_nothing_until_it_is_read() -> None:
    world = World.generate(entities=50, large_bytes=2 * 1024**3)
    large = max(world.attachments, key=lambda attachment: attachment.size)
    assert large.size == 2 * 1024**3
    assert len(next(iter(world.chunks(large)))) == BLOCK_BYTES


def test_a_real_html_attachment_looks_like_a_login_page(world: World) -> None:
    (page,) = named(world, "saved page.html")
    assert page.media_type == "text/html"
    assert world.content(page).lower().startswith(b"<!doctype html")
    assert b'type="password"' in world.content(page)


def test_sizes_are_log_normal_around_the_median() -> None:
    sizes = [a.size for a in World.generate(entities=300, attachments=4000, median_bytes=10_000).attachments]
    assert statistics.median(sizes) == pytest.approx(10_000, rel=0.1)
    assert statistics.mean(sizes) > 1.5 * statistics.median(sizes)


def test_attachment_of_a_comment_is_owned_and_quoted_by_the_comment(world: World) -> None:
    pasted = [attachment for attachment in world.attachments if attachment.comment_id is not None]
    assert len(pasted) == 2
    for attachment in pasted:
        (entity,) = [e for e in world.entities if attachment.comment_id in {c.id for c in e.comments}]
        (comment,) = [c for c in entity.comments if c.id == attachment.comment_id]
        assert attachment.entity_id is None
        assert f"AttachmentID={attachment.id}" in comment.text
        assert world.owner_of(attachment) == entity.id
        assert attachment in world.attachments_of(entity.id)


def test_an_e_mail_s_attachment_is_owned_through_the_message(world: World) -> None:
    mailed = [attachment for attachment in world.attachments if attachment.message_id is not None]
    messages = {message.id: message for message in world.messages}
    assert len(mailed) == len(messages) == 2
    for attachment in mailed:
        assert attachment.entity_id is None
        assert world.owner_of(attachment) == messages[attachment.message_id or 0].entity_id


def test_some_attachments_belong_to_nothing(world: World) -> None:
    loose = [attachment for attachment in world.attachments if world.owner_of(attachment) is None]
    assert {attachment.name for attachment in loose} == {"nobody's.png", "left over.zip"}


def test_some_descriptions_are_foreign_and_have_line_ends(world: World) -> None:
    descriptions = [attachment.description for attachment in world.attachments if attachment.description]
    assert any("\n" in description for description in descriptions)
    assert any("🙂" in description for description in descriptions)
    assert len(descriptions) < len(world.attachments) / 2


def test_texts_hold_old_images_attachments_and_one_markdown(world: World) -> None:
    texts = {entity.id: entity.text for entity in world.entities}
    assert any("~/images/" in text for text in texts.values())
    assert sum(text.startswith("<!--markdown-->") and "![" in text for text in texts.values()) == 1
    quoted = [
        (entity_id, int(number))
        for entity_id, text in texts.items()
        for number in re.findall(r"AttachmentID=(\d+)", text)
    ]
    assert len(quoted) > 3
    for entity_id, number in quoted:
        attachment = world.attachment(number)
        assert attachment is not None
        assert attachment.entity_id == entity_id


def test_moments_are_aware_and_in_utc(world: World) -> None:
    assert all(attachment.created_at.utcoffset() == timedelta(0) for attachment in world.attachments)


def test_a_world_without_attachments_has_the_same_entities(world: World) -> None:
    target = world.without_attachments()
    assert [(e.id, e.kind, e.title) for e in target.entities] == [(e.id, e.kind, e.title) for e in world.entities]
    assert not target.attachments
    assert not target.messages
    assert not any(entity.comments or "ttachment" in entity.text for entity in target.entities)


@pytest.mark.parametrize("entities", [0, 1, 2, 5])
def test_tiny_worlds_can_be_made(entities: int) -> None:
    world = World.generate(entities=entities, attachments=12)
    assert len(world.entities) == entities
    assert len(world.attachments) == (12 if entities else 0)
