"""What every target must pass, adapter or layer: `TargetContract`. `TargetReadContract` is the part that only reads."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from migrator import errors
from migrator.model import Draft
from migrator.testing.bound_target import NASTY, BoundTarget, arrivals, send, sha256
from migrator.testing.changes import CreatingContract, DeletingContract
from migrator.testing.samples import LARGEST_CHUNK, Bytes, MemorySink


class TargetReadContract:
    """What a target must do even if nothing may be written. Bind it with a fixture `bound`."""

    @pytest.fixture
    async def bound(self) -> AsyncIterator[BoundTarget]:
        """The tracker under test; a subclass has to define it."""
        pytest.fail(f"{type(self).__name__} defines no fixture `bound` that yields a BoundTarget")
        yield

    async def test_all_files_of_an_entity_are_found(self, bound: BoundTarget) -> None:
        listed = await bound.target.find_attachments(bound.entity)
        actual = await bound.files_of(bound.entity)
        assert actual, "the entity of a bound target holds at least one file"
        assert Counter((file.name, file.description) for file in listed) == Counter((t[0], t[3]) for t in actual)
        assert all(file.owner == bound.entity for file in listed)
        assert len({file.id for file in listed}) == len(actual)

    async def test_sizes_are_listed_if_the_capability_says_so(self, bound: BoundTarget) -> None:
        listed = await bound.target.find_attachments(bound.entity)
        sizes = Counter(size for _, size, _, _ in await bound.files_of(bound.entity))
        if bound.target.capabilities.reports_size:
            assert Counter(file.size for file in listed) == sizes
        else:
            assert any(file.size is None for file in listed), "every size is listed, so reports_size is true"

    async def test_files_are_read_back_with_their_own_bytes(self, bound: BoundTarget) -> None:
        read_back = []
        for file in await bound.target.find_attachments(bound.entity):
            sink = MemorySink()
            await bound.target.read_back(file, sink)
            assert sink.largest <= LARGEST_CHUNK
            read_back.append((file.name, sink.sha256))
        assert sorted(read_back) == sorted((t[0], t[2]) for t in await bound.files_of(bound.entity))

    async def test_a_missing_entity_is_gone(self, bound: BoundTarget) -> None:
        with pytest.raises(errors.GoneError):
            await bound.target.find_attachments(bound.missing)

    async def test_a_deleted_file_is_gone(self, bound: BoundTarget) -> None:
        if bound.gone is None:
            pytest.skip("this tracker has no deleted file to ask for")
        with pytest.raises(errors.GoneError):
            await bound.target.read_back(bound.gone, MemorySink())

    async def test_legal_name_is_legal_itself(self, bound: BoundTarget) -> None:
        legal = [bound.target.legal_name(name) for name in NASTY]
        assert all(legal), "a name is never empty"
        assert [bound.target.legal_name(name) for name in legal] == legal

    async def test_ordinary_names_are_legal_unchanged(self, bound: BoundTarget) -> None:
        names = ["notes.txt", "Änderung 日本.txt", "two words (1).tar.gz"]
        assert [bound.target.legal_name(name) for name in names] == names

    async def test_check_describes_account_and_tracker(self, bound: BoundTarget) -> None:
        assert (await bound.target.check()).strip()

    async def test_closing_twice_is_fine(self, bound: BoundTarget) -> None:
        target = bound.build()
        await target.check()
        await target.close()
        await target.close()

    async def test_wrong_credentials_are_refused(self, bound: BoundTarget) -> None:
        if bound.refused is None:
            pytest.skip("this tracker asks for no credentials")
        target = bound.refused()
        try:
            with pytest.raises(errors.AuthError):
                await target.check()
        finally:
            await target.close()

    async def test_an_unreachable_tracker_raises_an_error_at_the_first_request(self, bound: BoundTarget) -> None:
        if bound.unreachable is None:
            pytest.skip("this tracker is in the process")
        target = bound.unreachable()
        try:
            with pytest.raises((errors.ConnectError, errors.TrackerUnreachableError)):
                await target.check()
        finally:
            await target.close()


class TargetContract(TargetReadContract, DeletingContract, CreatingContract):
    """The whole contract: what is written arrives, once and unchanged."""

    async def test_an_upload_arrives_unchanged_and_the_answer_identifies_it(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        content = bytes(range(256)) * 3000
        made = await send(bound, "report.bin", content, media_type="application/octet-stream")
        assert await arrivals(bound, before) == [("report.bin", len(content), sha256(content), "")]
        if made is None:
            return
        listed = {file.id: file for file in await bound.target.find_attachments(bound.entity)}
        assert listed[made.id].name == made.name == "report.bin"
        assert made.owner == bound.entity
        sink = MemorySink()
        await bound.target.read_back(made, sink)
        assert bytes(sink.content) == content

    async def test_a_listed_media_type_is_the_one_that_was_sent(self, bound: BoundTarget) -> None:
        await send(bound, "picture.png", b"not really", media_type="image/png")
        remote = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "picture.png")
        assert remote.media_type in {"", "image/png"}

    async def test_empty_file_arrives_or_is_refused_as_declared(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        if bound.target.capabilities.refuses_empty:
            with pytest.raises(errors.RejectedError):
                await send(bound, "nothing.txt", b"")
            assert await arrivals(bound, before) == []
            return
        await send(bound, "nothing.txt", b"")
        assert await arrivals(bound, before) == [("nothing.txt", 0, sha256(b""), "")]

    async def test_exactly_the_refused_words_of_the_capabilities_are_refused(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        words = bound.target.capabilities.refused_words
        for word in words:
            with pytest.raises(errors.RejectedError) as caught:
                await send(bound, "refused.bin", b"\0\xff" + word.upper() + b"\xff")
            assert not isinstance(caught.value, errors.OutcomeUnknownError), word
        assert await arrivals(bound, before) == []
        page = b"<p>a paragraph</p> <b" if words else b"<html><script>onload=1</script></html>"
        await send(bound, "page.txt", page)
        assert [truth[:2] for truth in await arrivals(bound, before)] == [("page.txt", len(page))]

    async def test_two_files_with_equal_names_are_both_kept(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        first = await send(bound, "twin.txt", b"first")
        other = await send(bound, "twin.txt", b"other")
        expected = [("twin.txt", 5, sha256(content), "") for content in (b"first", b"other")]
        arrived = await arrivals(bound, before)
        if bound.target.capabilities.renames_twins:
            assert arrived != sorted(expected)
            arrived = [("twin.txt", size, digest, description) for _, size, digest, description in arrived]
        assert sorted(arrived) == sorted(expected)
        assert first is None or other is None or first.id != other.id

    async def test_two_equal_files_are_both_kept(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        for _ in range(2):
            await send(bound, "clone.txt", b"dolly")
        assert len(await arrivals(bound, before)) == 2

    async def test_legal_names_arrive_exactly(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        names = sorted(bound.target.legal_name(name) for name in NASTY)
        for name in names:
            await send(bound, name, b"x")
        assert sorted(truth[0] for truth in await arrivals(bound, before)) == names

    @pytest.mark.parametrize("letter", ["n", "ä", "日"])
    async def test_name_of_the_greatest_length_arrives(self, bound: BoundTarget, letter: str) -> None:
        before = await bound.files_of(bound.entity)
        can = bound.target.capabilities
        room = can.max_name_bytes - len(".txt".encode(can.name_encoding))
        name = letter * (room // len(letter.encode(can.name_encoding))) + ".txt"
        await send(bound, name, b"x")
        assert [truth[0] for truth in await arrivals(bound, before)] == [name]

    async def test_a_name_over_the_greatest_length_does_not_arrive_unchanged(self, bound: BoundTarget) -> None:
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

    async def test_a_description_arrives_if_the_capability_says_so(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        await send(bound, "described.txt", b"x", "Größe & <b>\u201cquotes\u201d</b>")
        [(_, _, _, description)] = await arrivals(bound, before)
        expected = "Größe & <b>\u201cquotes\u201d</b>" if bound.target.capabilities.sets_description else ""
        assert description == expected

    async def test_a_file_with_a_very_long_description_arrives(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        await send(bound, "novel.txt", b"x", "ö" * 5000)
        [(name, size, digest, description)] = await arrivals(bound, before)
        assert (name, size, digest) == ("novel.txt", 1, sha256(b"x"))
        assert not description.strip("ö…")

    async def test_description_can_be_set_and_set_again(self, bound: BoundTarget) -> None:
        can = bound.target.capabilities
        if not (can.sets_description and can.changes_description):
            pytest.skip("this tracker's files have no description, or keep the first one")
        await send(bound, "later.txt", b"x")
        remote = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "later.txt")
        for description in ("first", "first", "ähnlich " * 1000, "second"):
            await bound.target.describe(remote, description)
        assert [t[3] for t in await bound.files_of(bound.entity) if t[0] == "later.txt"] == ["second"]

    async def test_describe_changes_nothing_if_the_capability_denies_it(self, bound: BoundTarget) -> None:
        if bound.target.capabilities.sets_description and bound.target.capabilities.changes_description:
            pytest.skip("this tracker's files have a description that can be changed")
        before = await bound.files_of(bound.entity)
        remote = (await bound.target.find_attachments(bound.entity))[0]
        with contextlib.suppress(errors.RejectedError):
            await bound.target.describe(remote, "new")
        assert await bound.files_of(bound.entity) == before

    async def test_upload_to_a_missing_entity_is_a_definite_no(self, bound: BoundTarget) -> None:
        draft = Draft("lost.txt", "text/plain", "", 1)
        with pytest.raises(errors.RejectedError) as caught:
            await bound.target.upload(bound.missing, draft, Bytes(b"x"))
        assert not isinstance(caught.value, errors.OutcomeUnknownError)

    async def test_the_declared_number_of_concurrent_writes_works(self, bound: BoundTarget) -> None:
        before = await bound.files_of(bound.entity)
        count = bound.target.capabilities.max_writes
        await asyncio.gather(*(send(bound, f"file-{n}.txt", b"%d" % n) for n in range(count)))
        assert [t[:3] for t in await arrivals(bound, before)] == sorted(
            (f"file-{n}.txt", len(b"%d" % n), sha256(b"%d" % n)) for n in range(count)
        )

    async def test_file_of_the_largest_size_arrives_and_a_larger_one_is_refused(self, bound: BoundTarget) -> None:
        limit = bound.target.capabilities.max_attachment_bytes
        if limit is None:
            pytest.skip("the largest file that this tracker takes is not known")
        before = await bound.files_of(bound.entity)
        with pytest.raises(errors.RejectedError) as caught:
            await send(bound, "over.bin", bytes(limit + 1))
        assert not isinstance(caught.value, errors.OutcomeUnknownError)
        await send(bound, "full.bin", bytes(limit))
        assert [truth[:2] for truth in await arrivals(bound, before)] == [("full.bin", limit)]

    async def test_upload_refuses_exactly_what_refuses_says(self, bound: BoundTarget) -> None:
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

    async def test_author_and_date_are_kept_only_if_the_capability_says_so(self, bound: BoundTarget) -> None:
        draft = Draft("dated.txt", "text/plain", "", 1, created_at="2014-05-06T07:08:09", created_by=bound.author)
        await bound.target.upload(bound.entity, draft, Bytes(b"x"))
        remote = next(f for f in await bound.target.find_attachments(bound.entity) if f.name == "dated.txt")
        kept = remote.created_by == bound.author and remote.created_at.startswith("2014-05-06T07:08:09")
        assert kept == bound.target.capabilities.keeps_author_and_date

    async def test_nothing_is_uploaded_with_wrong_credentials(self, bound: BoundTarget) -> None:
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

    async def test_an_upload_to_an_unreachable_tracker_is_certainly_not_sent(self, bound: BoundTarget) -> None:
        if bound.unreachable is None:
            pytest.skip("this tracker is in the process")
        target = bound.unreachable()
        try:
            with pytest.raises((errors.ConnectError, errors.TrackerUnreachableError)):
                await target.upload(bound.entity, Draft("no.txt", "text/plain", "", 1), Bytes(b"x"))
        finally:
            await target.close()
