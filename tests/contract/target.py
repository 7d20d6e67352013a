"""What every target must pass, adapter or layer: `TargetContract`; its reading half alone: `TargetReadContract`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from migrator import errors
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Target
from tests.contract import LARGEST_CHUNK, Bytes, MemorySink

Truth = tuple[str, int, str, str]
"""Name, size, SHA-256 and description of a file that is really there."""

NASTY = (
    "a/b.txt",
    "a\\b.txt",
    "..",
    ".",
    "",
    " ",
    ".hidden",
    " leading.txt",
    "trailing.txt ",
    "trailing.",
    "line\nbreak.txt",
    "carriage\rreturn.txt",
    "tab\there.txt",
    "null\0byte.txt",
    "bell\x07.txt",
    'quote".txt',
    "it's.txt",
    "100%.txt",
    "%41%2F.txt",
    "a;b=c.txt",
    "<b>&amp;.txt",
    "a:b*c?d|e.txt",
    "question?.txt",
    "hash#.txt",
    "plus+ and &.txt",
    "COM1.txt",
    "Änderung 日本 😀.txt",
    "A\u0308 decomposed.txt",
    "\u202etxt.exe",
    "line\u2028separator.txt",
    "no extension",
    "~`!@$^()_-={}[],.txt",
)


@dataclass
class BoundTarget:
    """A target and a way around it to see what is really there.

    `entity` exists and holds one file at least, `missing` does not exist. `files_of` looks into the tracker without
    the adapter. `author` is somebody whom the tracker knows, but not the account. `gone` is a file that was there and
    was deleted. `limits_names` False: the tracker (or the test's stand-in) is known to keep names longer than
    `max_name_bytes`. `refused_drafts` are files of one byte that this target is known to refuse. What is None is
    skipped, and said.
    """

    target: Target
    build: Callable[[], Target]
    entity: EntityRef
    missing: EntityRef
    files_of: Callable[[EntityRef], Awaitable[list[Truth]]]
    gone: Attachment | None = None
    refused: Callable[[], Target] | None = None
    unreachable: Callable[[], Target] | None = None
    limits_names: bool = True
    author: str = "Somebody Else"
    refused_drafts: tuple[Draft, ...] = ()


async def send(
    bound: BoundTarget, name: str, content: bytes, description: str = "", media_type: str = "text/plain"
) -> Attachment | None:
    draft = Draft(name, media_type, description, len(content))
    return await bound.target.upload(bound.entity, draft, Bytes(content))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stub(title: str) -> EntityDraft:
    """What a load creates of an entity that has no row."""
    mark = f"migrator-{secrets.token_hex(12)}"
    return EntityDraft("Bug", title, f"Migrated from here: Bug 1\nhttp://old.example/1?a=b&c=d\n\n{title}", mark)


async def arrivals(bound: BoundTarget, before: list[Truth]) -> list[Truth]:
    """What is there now and was not before."""
    return sorted((Counter(await bound.files_of(bound.entity)) - Counter(before)).elements())


class TargetReadContract:
    """What a target must do even where nothing may be written. Bind it with a fixture `bound`."""

    @pytest.fixture
    async def bound(self):
        raise NotImplementedError

    async def test_all_files_of_an_entity_are_found(self, bound):
        found = await bound.target.find_attachments(bound.entity)
        there = await bound.files_of(bound.entity)
        assert there, "the entity of a bound target holds one file at least"
        assert Counter((file.name, file.description) for file in found) == Counter((t[0], t[3]) for t in there)
        assert all(file.owner == bound.entity for file in found)
        assert len({file.id for file in found}) == len(there)

    async def test_sizes_are_told_where_the_capability_says_so(self, bound):
        found = await bound.target.find_attachments(bound.entity)
        sizes = Counter(size for _, size, _, _ in await bound.files_of(bound.entity))
        if bound.target.capabilities.reports_size:
            assert Counter(file.size for file in found) == sizes
        else:
            assert any(file.size is None for file in found), "every size is told: reports_size is true"

    async def test_files_are_read_back_with_their_own_bytes(self, bound):
        found = []
        for file in await bound.target.find_attachments(bound.entity):
            bucket = MemorySink()
            await bound.target.read_back(file, bucket)
            assert bucket.largest <= LARGEST_CHUNK
            found.append((file.name, bucket.sha256))
        assert sorted(found) == sorted((t[0], t[2]) for t in await bound.files_of(bound.entity))

    async def test_missing_entity_has_gone(self, bound):
        with pytest.raises(errors.GoneError):
            await bound.target.find_attachments(bound.missing)

    async def test_deleted_file_has_gone(self, bound):
        if bound.gone is None:
            pytest.skip("this tracker has no deleted file to ask for")
        with pytest.raises(errors.GoneError):
            await bound.target.read_back(bound.gone, MemorySink())

    async def test_legal_name_is_legal_itself(self, bound):
        legal = [bound.target.legal_name(name) for name in NASTY]
        assert all(legal), "a name is never empty"
        assert [bound.target.legal_name(name) for name in legal] == legal

    async def test_ordinary_names_are_legal_as_they_are(self, bound):
        names = ["notes.txt", "Änderung 日本.txt", "two words (1).tar.gz"]
        assert [bound.target.legal_name(name) for name in names] == names

    async def test_check_says_who_and_where(self, bound):
        assert (await bound.target.check()).strip()

    async def test_closing_twice_is_fine(self, bound):
        target = bound.build()
        await target.check()
        await target.close()
        await target.close()

    async def test_wrong_credentials_are_refused(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        target = bound.refused()
        try:
            with pytest.raises(errors.AuthError):
                await target.check()
        finally:
            await target.close()

    async def test_nobody_there_is_said_in_our_words_and_only_when_asked(self, bound):
        if bound.unreachable is None:
            pytest.skip("this tracker is in the process")
        target = bound.unreachable()
        try:
            with pytest.raises((errors.ConnectError, errors.TrackerUnreachableError)):
                await target.check()
        finally:
            await target.close()


class TargetContract(TargetReadContract):
    """The whole of it: what is written arrives, once, as it was."""

    async def test_upload_arrives_as_it_was_and_the_answer_says_which(self, bound):
        before = await bound.files_of(bound.entity)
        content = bytes(range(256)) * 3000
        made = await send(bound, "report.bin", content, media_type="application/octet-stream")
        assert await arrivals(bound, before) == [("report.bin", len(content), sha256(content), "")]
        if made is None:
            return
        found = {file.id: file for file in await bound.target.find_attachments(bound.entity)}
        assert found[made.id].name == made.name == "report.bin"
        assert made.owner == bound.entity
        bucket = MemorySink()
        await bound.target.read_back(made, bucket)
        assert bytes(bucket.content) == content

    async def test_media_type_arrives_where_it_is_told(self, bound):
        await send(bound, "picture.png", b"not really", media_type="image/png")
        found = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "picture.png")
        assert found.media_type in {"", "image/png"}

    async def test_empty_file_arrives(self, bound):
        before = await bound.files_of(bound.entity)
        await send(bound, "nothing.txt", b"")
        assert await arrivals(bound, before) == [("nothing.txt", 0, sha256(b""), "")]

    async def test_two_files_of_equal_name_are_both_kept(self, bound):
        before = await bound.files_of(bound.entity)
        first = await send(bound, "twin.txt", b"first")
        other = await send(bound, "twin.txt", b"other")
        expected = [("twin.txt", 5, sha256(content), "") for content in (b"first", b"other")]
        assert await arrivals(bound, before) == sorted(expected)
        assert first is None or other is None or first.id != other.id

    async def test_two_equal_files_are_both_kept(self, bound):
        before = await bound.files_of(bound.entity)
        for _ in range(2):
            await send(bound, "clone.txt", b"dolly")
        assert len(await arrivals(bound, before)) == 2

    async def test_legal_names_arrive_exactly(self, bound):
        before = await bound.files_of(bound.entity)
        names = sorted(bound.target.legal_name(name) for name in NASTY)
        for name in names:
            await send(bound, name, b"x")
        assert sorted(truth[0] for truth in await arrivals(bound, before)) == names

    @pytest.mark.parametrize("letter", ["n", "ä", "日"])
    async def test_name_of_the_greatest_length_arrives(self, bound, letter):
        before = await bound.files_of(bound.entity)
        can = bound.target.capabilities
        room = can.max_name_bytes - len(".txt".encode(can.name_encoding))
        name = letter * (room // len(letter.encode(can.name_encoding))) + ".txt"
        await send(bound, name, b"x")
        assert [truth[0] for truth in await arrivals(bound, before)] == [name]

    async def test_name_over_the_greatest_length_does_not_arrive_as_it_is(self, bound):
        if not bound.limits_names:
            pytest.skip("max_name_bytes is below what this tracker is known to bear")
        before = await bound.files_of(bound.entity)
        can = bound.target.capabilities
        name = "n" * (can.max_name_bytes // len("n".encode(can.name_encoding)) + 1 - len(".txt")) + ".txt"
        try:
            await send(bound, name, b"x")
        except errors.RejectedError:
            assert await arrivals(bound, before) == []
        else:
            assert name not in [truth[0] for truth in await arrivals(bound, before)]

    async def test_description_arrives_where_the_capability_says_so(self, bound):
        before = await bound.files_of(bound.entity)
        await send(bound, "told.txt", b"x", "Größe & <b>\u201cquotes\u201d</b>")
        [(_, _, _, description)] = await arrivals(bound, before)
        told = "Größe & <b>\u201cquotes\u201d</b>" if bound.target.capabilities.sets_description else ""
        assert description == told

    async def test_file_with_a_very_long_description_arrives_all_the_same(self, bound):
        before = await bound.files_of(bound.entity)
        await send(bound, "novel.txt", b"x", "ö" * 5000)
        [(name, size, digest, description)] = await arrivals(bound, before)
        assert (name, size, digest) == ("novel.txt", 1, sha256(b"x"))
        assert not description.strip("ö…")

    async def test_description_can_be_set_and_set_again(self, bound):
        if not bound.target.capabilities.sets_description:
            pytest.skip("this tracker's files have no description")
        await send(bound, "later.txt", b"x")
        remote = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "later.txt")
        for description in ("first", "first", "ähnlich " * 1000, "second"):
            await bound.target.describe(remote, description)
        assert [t[3] for t in await bound.files_of(bound.entity) if t[0] == "later.txt"] == ["second"]

    async def test_describe_changes_nothing_where_the_capability_denies_it(self, bound):
        if bound.target.capabilities.sets_description:
            pytest.skip("this tracker's files have a description")
        before = await bound.files_of(bound.entity)
        remote = (await bound.target.find_attachments(bound.entity))[0]
        with contextlib.suppress(errors.RejectedError):
            await bound.target.describe(remote, "told")
        assert await bound.files_of(bound.entity) == before

    async def test_upload_to_a_missing_entity_is_a_definite_no(self, bound):
        draft = Draft("lost.txt", "text/plain", "", 1)
        with pytest.raises(errors.RejectedError) as caught:
            await bound.target.upload(bound.missing, draft, Bytes(b"x"))
        assert not isinstance(caught.value, errors.OutcomeUnknownError)

    async def test_as_many_writes_as_declared_go_side_by_side(self, bound):
        before = await bound.files_of(bound.entity)
        count = bound.target.capabilities.max_writes
        await asyncio.gather(*(send(bound, f"file {n}.txt", b"%d" % n) for n in range(count)))
        assert [t[:3] for t in await arrivals(bound, before)] == sorted(
            (f"file {n}.txt", len(b"%d" % n), sha256(b"%d" % n)) for n in range(count)
        )

    async def test_file_of_the_largest_size_arrives_and_a_larger_one_is_refused(self, bound):
        limit = bound.target.capabilities.max_attachment_bytes
        if limit is None:
            pytest.skip("the largest file that this tracker takes is not known")
        before = await bound.files_of(bound.entity)
        with pytest.raises(errors.RejectedError) as caught:
            await send(bound, "over.bin", bytes(limit + 1))
        assert not isinstance(caught.value, errors.OutcomeUnknownError)
        await send(bound, "full.bin", bytes(limit))
        assert [truth[:2] for truth in await arrivals(bound, before)] == [("full.bin", limit)]

    async def test_names_called_refused_are_refused_and_no_others(self, bound):
        before = await bound.files_of(bound.entity)
        limit = bound.target.capabilities.max_attachment_bytes
        too_large = () if limit is None else (Draft("over.bin", "application/octet-stream", "", limit + 1),)
        for draft in (*bound.refused_drafts, *too_large):
            assert await bound.target.refuses(bound.entity, draft), draft
            with pytest.raises(errors.RejectedError):
                await bound.target.upload(bound.entity, draft, Bytes(b"x" if draft.size == 1 else bytes(draft.size)))
        fine = Draft("fine.txt", "text/plain", "", 1)
        assert await bound.target.refuses(bound.entity, fine) is None
        assert await arrivals(bound, before) == [], "asking sends nothing"
        await bound.target.upload(bound.entity, fine, Bytes(b"x"))
        assert [truth[0] for truth in await arrivals(bound, before)] == ["fine.txt"]

    async def test_deleted_file_is_gone_and_its_twins_stay(self, bound):
        if not bound.target.capabilities.deletes:
            pytest.skip("this tracker's files can't be deleted")
        before = await bound.files_of(bound.entity)
        known = {file.id for file in await bound.target.find_attachments(bound.entity)}
        for _ in range(2):
            await send(bound, "twin.txt", b"twin")
        made = [file for file in await bound.target.find_attachments(bound.entity) if file.id not in known]
        assert len(made) == 2
        await bound.target.delete(made[0])
        assert await arrivals(bound, before) == [("twin.txt", 4, sha256(b"twin"), "")]
        found = await bound.target.find_attachments(bound.entity)
        assert [file.id for file in found if file.id not in known] == [made[1].id]

    async def test_deleting_twice_says_that_it_is_gone(self, bound):
        if not bound.target.capabilities.deletes:
            pytest.skip("this tracker's files can't be deleted")
        await send(bound, "brief.txt", b"x")
        after = await bound.files_of(bound.entity)
        remote = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "brief.txt")
        await bound.target.delete(remote)
        with pytest.raises(errors.GoneError):
            await bound.target.delete(remote)
        assert Counter(after) - Counter(await bound.files_of(bound.entity)) == Counter(
            [("brief.txt", 1, sha256(b"x"), "")]
        )

    async def test_delete_is_refused_where_the_capability_denies_it(self, bound):
        if bound.target.capabilities.deletes:
            pytest.skip("this tracker's files can be deleted")
        before = await bound.files_of(bound.entity)
        remote = (await bound.target.find_attachments(bound.entity))[0]
        with pytest.raises(errors.RejectedError):
            await bound.target.delete(remote)
        assert await bound.files_of(bound.entity) == before

    async def test_nothing_is_deleted_with_wrong_credentials(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        before = await bound.files_of(bound.entity)
        remote = (await bound.target.find_attachments(bound.entity))[0]
        target = bound.refused()
        try:
            with pytest.raises((errors.AuthError, errors.RejectedError)):
                await target.delete(remote)
        finally:
            await target.close()
        assert await bound.files_of(bound.entity) == before

    async def test_a_created_entity_is_there_is_found_by_its_mark_and_takes_files(self, bound):
        if not bound.target.capabilities.creates:
            pytest.skip("this tracker creates nothing")
        await bound.target.require_creating()
        draft, other = stub("Größe & <b>Maß</b>"), stub("another")
        assert await bound.target.find_entity(draft) is None
        made = await bound.target.create_entity(draft)
        assert await bound.target.find_entity(draft) == made
        assert await bound.target.find_entity(other) is None
        another = await bound.target.create_entity(other)
        assert another != made
        assert [await bound.target.find_entity(one) for one in (draft, other)] == [made, another]
        assert await bound.target.find_attachments(made) == ()
        await bound.target.upload(made, Draft("on it.txt", "text/plain", "", 1), Bytes(b"x"))
        assert [truth[0] for truth in await bound.files_of(made)] == ["on it.txt"]

    async def test_another_process_finds_a_created_entity_too(self, bound):
        if not bound.target.capabilities.creates:
            pytest.skip("this tracker creates nothing")
        draft = stub("from before")
        made = await bound.target.create_entity(draft)
        later = bound.build()
        try:
            assert await later.find_entity(draft) == made
        finally:
            await later.close()

    async def test_an_entity_of_any_title_is_created(self, bound):
        if not bound.target.capabilities.creates:
            pytest.skip("this tracker creates nothing")
        for title in ("", " ", "long " * 200, "it's \u201cquoted\u201d\n日本 😀"):
            draft = stub(title)
            assert await bound.target.find_entity(draft) is None
            made = await bound.target.create_entity(draft)
            assert await bound.target.find_entity(draft) == made

    async def test_nothing_is_created_where_the_capability_denies_it(self, bound):
        if bound.target.capabilities.creates:
            pytest.skip("this tracker creates entities")
        with pytest.raises(errors.ConfigError, match="create_missing"):
            await bound.target.require_creating()
        with pytest.raises(errors.RejectedError):
            await bound.target.create_entity(stub("no"))

    async def test_author_and_date_are_kept_exactly_where_the_capability_says_so(self, bound):
        draft = Draft("dated.txt", "text/plain", "", 1, created_at="2014-05-06T07:08:09", created_by=bound.author)
        await bound.target.upload(bound.entity, draft, Bytes(b"x"))
        found = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "dated.txt")
        kept = found.created_by == bound.author and found.created_at.startswith("2014-05-06T07:08:09")
        assert kept == bound.target.capabilities.keeps_author_and_date

    async def test_nothing_is_uploaded_with_wrong_credentials(self, bound):
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        before = await bound.files_of(bound.entity)
        target = bound.refused()
        try:
            with pytest.raises((errors.AuthError, errors.RejectedError)):
                await target.upload(bound.entity, Draft("no.txt", "text/plain", "", 1), Bytes(b"x"))
        finally:
            await target.close()
        assert await arrivals(bound, before) == []

    async def test_nobody_there_means_surely_not_sent(self, bound):
        if bound.unreachable is None:
            pytest.skip("this tracker is in the process")
        target = bound.unreachable()
        try:
            with pytest.raises((errors.ConnectError, errors.TrackerUnreachableError)):
                await target.upload(bound.entity, Draft("no.txt", "text/plain", "", 1), Bytes(b"x"))
        finally:
            await target.close()
