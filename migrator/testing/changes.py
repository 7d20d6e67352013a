"""The parts of `TargetContract` on deleting files and on creating entities."""

from __future__ import annotations

from collections import Counter

import pytest

from migrator import errors
from migrator.model import Draft
from migrator.testing.bound_target import BoundTarget, arrivals, send, sha256, stub
from migrator.testing.samples import Bytes


class DeletingContract:
    """A target deletes exactly the file that it is asked to, or refuses."""

    async def test_deleted_file_is_gone_and_its_twins_stay(self, bound: BoundTarget) -> None:
        if not bound.target.capabilities.deletes:
            pytest.skip("this tracker's files can't be deleted")
        before = await bound.files_of(bound.entity)
        known = {file.id for file in await bound.target.find_attachments(bound.entity)}
        for _ in range(2):
            await send(bound, "twin.txt", b"twin")
        made = [file for file in await bound.target.find_attachments(bound.entity) if file.id not in known]
        assert len(made) == 2
        await bound.target.delete(made[0])
        assert await arrivals(bound, before) == [(made[1].name, 4, sha256(b"twin"), "")]
        listed = await bound.target.find_attachments(bound.entity)
        assert [file.id for file in listed if file.id not in known] == [made[1].id]

    async def test_deleting_a_file_twice_raises_gone(self, bound: BoundTarget) -> None:
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

    async def test_delete_is_refused_if_the_capability_denies_it(self, bound: BoundTarget) -> None:
        if bound.target.capabilities.deletes:
            pytest.skip("this tracker's files can be deleted")
        before = await bound.files_of(bound.entity)
        remote = (await bound.target.find_attachments(bound.entity))[0]
        with pytest.raises(errors.RejectedError):
            await bound.target.delete(remote)
        assert await bound.files_of(bound.entity) == before

    async def test_nothing_is_deleted_with_wrong_credentials(self, bound: BoundTarget) -> None:
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


class CreatingContract:
    """A target creates entities that are found again by their mark, or refuses."""

    async def test_a_created_entity_is_found_by_its_mark_and_takes_files(self, bound: BoundTarget) -> None:
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
        assert await bound.target.find_entity(draft) == made
        assert await bound.target.find_entity(other) == another
        assert await bound.target.find_attachments(made) == ()
        await bound.target.upload(made, Draft("on-it.txt", "text/plain", "", 1), Bytes(b"x"))
        assert [truth[0] for truth in await bound.files_of(made)] == ["on-it.txt"]

    async def test_another_process_finds_a_created_entity(self, bound: BoundTarget) -> None:
        if not bound.target.capabilities.creates:
            pytest.skip("this tracker creates nothing")
        draft = stub("from before")
        made = await bound.target.create_entity(draft)
        later = bound.build()
        try:
            assert await later.find_entity(draft) == made
        finally:
            await later.close()

    async def test_an_entity_of_any_title_is_created(self, bound: BoundTarget) -> None:
        if not bound.target.capabilities.creates:
            pytest.skip("this tracker creates nothing")
        for title in ("", " ", "long " * 200, "it's \u201cquoted\u201d\n日本 😀"):
            draft = stub(title)
            assert await bound.target.find_entity(draft) is None
            made = await bound.target.create_entity(draft)
            assert await bound.target.find_entity(draft) == made

    async def test_nothing_is_created_if_the_capability_denies_it(self, bound: BoundTarget) -> None:
        if bound.target.capabilities.creates:
            pytest.skip("this tracker creates entities")
        with pytest.raises(errors.ConfigError, match="create_missing"):
            await bound.target.require_creating()
        with pytest.raises(errors.RejectedError):
            await bound.target.create_entity(stub("no"))
