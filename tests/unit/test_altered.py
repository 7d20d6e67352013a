"""A target that calls a file what it likes, lists it late, or loses the answer: it is there once, and known."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import sqlite3
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from migrator.errors import AuthError, ForbiddenError, LoginPageError, OutcomeUnknownError, RejectedError
from migrator.layers.retry import RetryingTarget
from migrator.model import Attachment, Blob, EntityRef, Upload, UploadStatus
from migrator.pipeline.load.arrivals import is_passing, recognise, resembles
from migrator.pipeline.load.evidence import Evidence
from migrator.pipeline.reading import Reader, same_text
from migrator.ports import Sink
from migrator.testing import Bytes
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from migrator.trackers.squash.passing import passing_name
from tests.support.killed import DIED, DONE, STRIDE, LastingTarget, in_child, restore
from tests.support.parts import FULL, PATIENCE, rows, run_backup, run_load, run_rollback, twin_of

ALTERATIONS = {
    "composes": lambda name: unicodedata.normalize("NFC", name),
    "decomposes": lambda name: unicodedata.normalize("NFD", name),
    "takes the last part of a path": lambda name: re.split(r"[\\_]", name)[-1],
    "escapes": lambda name: quote(name),
    "replaces blanks": lambda name: name.replace(" ", "_"),
    "changes case": str.upper,
    "appends an extension": lambda name: f"{name}.txt",
    "cuts": lambda name: name[:5],
    "calls all the same": lambda _: "file",
}
ALTERED = pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS.keys())

FILES = (
    ("re\u0301sume\u0301 final.txt", b"one of seven"),
    ("dir\\two words.txt", b"two of seven"),
    ("r\u00e4tsel.txt", b"3"),
    ("same.txt", b"same"),
    ("same.txt", b"same"),
    ("other.txt", b"same"),
    ("empty.txt", b""),
)


@pytest.fixture
async def archive(tmp_path):
    """An archive of one entity with files of odd names and equal sizes; an empty target; the mapping."""
    source = MemoryTracker()
    owner = source.add("Bug")
    for name, content in FILES:
        source.attach(owner, name, content, description="told")
    root = tmp_path / "archive"
    await run_backup(source, root)
    target, mapping = twin_of(source)
    return root, target, mapping


def contents(target: MemoryTracker) -> list[bytes]:
    return sorted(target.content.values())


EACH_ONCE = sorted(content for _, content in FILES)


def assert_settled(root, target, summary) -> None:
    """Each file is there once, known by its id under the name it has there, and nothing is a failure."""
    assert contents(target) == EACH_ONCE
    assert (summary["status"], summary["failures"]) == ("complete", [])
    wanted = "a.name, u.name, u.sent_name, u.altered, u.remote_id"
    known = rows(root, f"SELECT {wanted} FROM uploads u JOIN attachments a USING (attachment_id)")
    for original, name, sent_name, altered, remote_id in known:
        assert target.files[remote_id].name == name
        assert sent_name == original
        how = json.loads(altered)["name"] if altered else {"sent": name, "found": name}
        assert how == {"sent": sent_name, "found": name}
        assert target.content[remote_id] in {content for kept, content in FILES if kept == original}


@ALTERED
async def test_a_file_whose_name_the_target_altered_is_not_sent_again(archive, alter):
    root, target, mapping = archive
    target.alters_names = alter
    first = await run_load(target, root, mapping)
    assert_settled(root, target, first)
    changed = sorted(name for name, _ in FILES if alter(name) != name)
    told = first.get("altered", [])
    assert sorted(one["name"] for one in told) == changed
    assert all(one["how"]["name"]["found"] == alter(one["name"]) for one in told)
    again = await run_load(target, root, mapping, verify_content=True)
    assert_settled(root, target, again)
    assert target.uploads == len(FILES)
    undone = await run_rollback(target, root)
    assert (undone["status"], undone["deletions"]["deleted"], target.files) == ("complete", len(FILES), {})


@pytest.mark.parametrize("lags", [0, 1000])
async def test_a_list_that_tells_no_names_is_loaded_into_once_and_rolled_back(archive, lags):
    root, target, mapping = archive
    target.lags, target.alters_names = lags, lambda _: ""
    for _ in range(2):
        assert (await run_load(target, root, mapping))["status"] == "complete"
    assert (contents(target), target.uploads) == (EACH_ONCE, len(FILES))
    undone = await run_rollback(target, root)
    assert (undone["status"], target.files) == ("complete", {})


class Answering(MemoryTarget):
    """Answers as it should, tells nothing of what it made, loses the answer, or says 500 and has it."""

    how = "lost"

    async def upload(self, owner, draft, body):
        made = await super().upload(owner, draft, body)
        if self.how == "echo":
            return replace(made, name=draft.name)
        if self.how == "nothing":
            return None
        if self.how == "an old id" and len(self._tracker.of(owner)) > 1:
            return self._tracker.of(owner)[0]
        if self.how in {"lost", "failed", "at work"}:
            raise OutcomeUnknownError("no answer", finished=self.how == "failed", at_work=self.how == "at work")
        if self.how == "a yes alone":
            raise OutcomeUnknownError("it said yes", accepted=True)
        return made


def answering(target: MemoryTracker, how: str) -> RetryingTarget:
    made = Answering(target)
    made.how = how
    return RetryingTarget(made, PATIENCE)


ANSWERS = pytest.mark.parametrize("how", ["echo", "nothing", "an old id", "lost", "failed", "at work", "a yes alone"])


@ANSWERS
@ALTERED
async def test_whatever_the_answer_tells_an_altered_file_is_found_and_sent_once(archive, alter, how):
    root, target, mapping = archive
    target.alters_names = alter
    assert_settled(root, target, await run_load(target, root, mapping, target=answering(target, how)))
    assert_settled(root, target, await run_load(target, root, mapping))
    assert target.uploads == len(FILES)


@pytest.mark.parametrize("lags", [1, 3, 100])
@pytest.mark.parametrize("how", ["echo", "nothing", "an old id", "told", "a yes alone"])
async def test_a_list_that_lags_makes_no_load_send_anything_twice(archive, how, lags):
    root, target, mapping = archive
    target.lags, target.alters_names = lags, str.upper
    for _ in range(4):
        await run_load(target, root, mapping, target=answering(target, how), second=1.0)
        assert target.uploads == len(FILES)
        assert rows(root, "SELECT count(*) FROM uploads WHERE status IN ('failed', 'planned')") == [(0,)]
    target._unlisted.clear()
    assert_settled(root, target, await run_load(target, root, mapping))
    assert target.uploads == len(FILES)


SHORT = timedelta(seconds=29)
LONG = timedelta(seconds=31)


@pytest.mark.parametrize("verdict", ["", "prompt", "late"])
@pytest.mark.parametrize(
    ("ago", "facts", "absent"),
    [
        (SHORT, {}, {"": False, "prompt": False, "late": False}),
        (SHORT, {"broke": True}, {"": False, "prompt": True, "late": False}),
        (SHORT, {"finished": True}, {"": True, "prompt": True, "late": False}),
        (LONG, {}, {"": True, "prompt": True, "late": False}),
    ],
)
def test_an_upload_that_may_still_be_at_work_is_not_sent_again(verdict, ago, facts, absent):
    sent_at = (datetime.now(UTC) - ago).isoformat()
    of, to = EntityRef("Bug", "1"), EntityRef("Bug", "2")
    sent = UploadStatus.IN_DOUBT
    upload = Upload(Attachment("1", of, "a"), Blob("0", 1), to, sent, sent_run=1, sent_at=sent_at)
    for run in (1, 2):
        seen = Evidence(run, verdict).is_absent(upload, newer=True, **facts)
        assert seen is absent[verdict]


async def test_a_file_that_appears_late_is_looked_for_and_not_sent_again(archive):
    root, target, mapping = archive

    class Slow(Answering):
        how = "at work"

        async def upload(self, owner, draft, body):
            prompt = target.uploads < 3
            target.lags = 0 if prompt else 5
            return await (MemoryTarget.upload if prompt else Answering.upload)(self, owner, draft, body)

    summary = await run_load(target, root, mapping, target=RetryingTarget(Slow(target), PATIENCE), second=1.0)
    assert_settled(root, target, summary)
    assert target.uploads == len(FILES)


async def test_a_file_that_can_be_read_back_is_uploaded_though_no_list_shows_it(archive):
    root, target, mapping = archive
    target.lags = 1000
    summary = await run_load(target, root, mapping)
    assert_settled(root, target, summary)
    assert rows(root, "SELECT DISTINCT status FROM uploads") == [("uploaded",)]


async def test_a_rollback_deletes_what_no_list_has_shown_yet(archive):
    root, target, mapping = archive
    target.lags, target.alters_names = 1000, str.upper
    await run_load(target, root, mapping, target=answering(target, "echo"))
    summary = await run_rollback(target, root)
    assert (summary["status"], summary["deletions"]["deleted"], target.files) == ("complete", len(FILES), {})


class Unlisted(MemoryTarget):
    """A replica that knows nothing of what is new: neither its list nor the file."""

    async def read_back(self, remote, sink):
        if self._tracker._unlisted.get(remote.id):
            raise RejectedError("GET file: status 404", status=404)
        await super().read_back(remote, sink)


async def test_an_accepted_file_that_is_not_seen_stays_in_doubt_until_it_is(archive):
    root, target, mapping = archive
    target.lags = 100
    for _ in range(3):
        hiding = RetryingTarget(Unlisted(target), PATIENCE)
        summary = await run_load(target, root, mapping, target=hiding, second=1.0)
        assert (summary["status"], summary["uploads"]["failed"]) == ("incomplete", len(FILES))
        assert target.uploads == len(FILES)
        assert "not seen at the target yet" in summary["failures"][0]["reason"]
        assert rows(root, "SELECT DISTINCT status FROM uploads") == [("in_doubt",)]
    target._unlisted.clear()
    assert_settled(root, target, await run_load(target, root, mapping))
    assert target.uploads == len(FILES)


def age(root, hours: float) -> None:
    """As if what was sent had been sent so long ago."""
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("UPDATE uploads SET sent_at = ?", [at])


async def test_a_list_that_lags_a_little_is_waited_for(archive):
    root, target, mapping = archive
    target.lags = 3
    summary = await run_load(target, root, mapping, target=answering(target, "a yes alone"), second=1.0)
    assert_settled(root, target, summary)


async def test_what_may_be_the_reason_that_a_file_never_shows_is_told(archive):
    root, target, mapping = archive
    target.lags = 100
    summary = await run_load(target, root, mapping, target=answering(target, "a yes alone"), second=1.0)
    assert {failure["reason"].rpartition(" (")[2] for failure in summary["failures"]} == {"it said yes)"}


async def test_an_accepted_file_that_newer_lists_lack_is_sent_again_later(archive):
    root, target, mapping = archive

    class Swallowing(MemoryTarget):
        async def upload(self, owner, draft, body):
            made = await super().upload(owner, draft, body)
            if made.name == "r\u00e4tsel.txt":
                target.remove(made.id)
            return made

    swallowing = RetryingTarget(Swallowing(target), PATIENCE)
    first = await run_load(target, root, mapping, target=swallowing)
    assert (first["status"], first["uploads"]["failed"]) == ("incomplete", 1)
    at_once = await run_load(target, root, mapping, second=1.0)
    assert (at_once["uploads"]["failed"], target.uploads) == (1, len(FILES))
    age(root, hours=1)
    target.attach(next(iter(mapping.values()))[0], "newer.txt", b"newer")
    assert (await run_load(target, root, mapping, second=1.0))["status"] == "complete"
    assert target.uploads == len(FILES) + 1


class NeverRead(Answering):
    """Hands no file out again."""

    async def read_back(self, remote, sink):
        raise ForbiddenError("GET file: status 403")


async def never_read(target, root, mapping):
    """A load whose answers are lost, into a target that hands nothing out."""
    return await run_load(target, root, mapping, target=RetryingTarget(NeverRead(target), PATIENCE), uploads=1)


async def test_an_unreadable_file_is_known_if_it_is_the_only_candidate(tmp_path):
    source = MemoryTracker()
    source.attach(source.add("Bug"), "only one.txt", b"content")
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    target.alters_names = str.upper
    summary = await never_read(target, tmp_path, mapping)
    assert (summary["status"], target.uploads) == ("complete", 1)
    assert rows(tmp_path, "SELECT status, name FROM uploads") == [("uploaded", "ONLY ONE.TXT")]


async def two_in_doubt(root):
    """Two files of one size, both sent and not seen to arrive, under one name that is neither's."""
    source = MemoryTracker()
    owner = source.add("Bug")
    for name, content in (("one.txt", b"11111"), ("two.txt", b"22222")):
        source.attach(owner, name, content)
    await run_backup(source, root)
    target, mapping = twin_of(source)
    target.alters_names = lambda _: "file"
    await run_load(target, root, mapping)
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("UPDATE uploads SET status = 'in_doubt', remote_id = NULL, altered = NULL, name = sent_name")
    return target, mapping


async def test_two_files_of_one_size_in_doubt_are_told_apart_by_their_content(tmp_path):
    target, mapping = await two_in_doubt(tmp_path)
    assert (await run_load(target, tmp_path, mapping))["status"] == "complete"
    assert target.uploads == 2
    known = rows(tmp_path, "SELECT a.name, u.remote_id FROM uploads u JOIN attachments a USING (attachment_id)")
    assert {name: target.content[id_] for name, id_ in known} == {"one.txt": b"11111", "two.txt": b"22222"}


class CutOnce(MemoryTracker):
    """Lists no sizes, and sends each file without its last byte the first time, without saying so."""

    def __init__(self) -> None:
        super().__init__(reports_size=False)
        self.cut: set[str] = set()

    async def send(self, attachment: Attachment, sink: Sink) -> None:
        if attachment.id in self.cut:
            await super().send(attachment, sink)
            return
        self.cut.add(attachment.id)
        content = self.content[attachment.id]
        self.content[attachment.id] = content[:-1]
        await super().send(attachment, sink)
        self.content[attachment.id] = content


async def one_file(root, known):
    """A file in an archive, a target that has it and cuts its first download, and the mapping."""
    source, target = MemoryTracker(), CutOnce()
    owner, to = source.add("Bug"), target.add("Issue")
    source.attach(owner, "one.bin", b"\0one")
    await run_backup(source, root)
    if known == "there before":
        target.attach(to, "one.bin", b"\0one")
    else:
        await run_load(target, root, {owner: (to,)})
    if known == "in doubt":
        with sqlite3.connect(root / "catalog.db") as db:
            db.execute("UPDATE uploads SET status = 'in_doubt', remote_id = NULL, name = sent_name")
    target.cut.clear()
    return target, {owner: (to,)}


@pytest.mark.parametrize("known", ["in doubt", "there before", "checked"])
async def test_one_reading_of_a_file_of_unknown_length_does_not_make_it_another(tmp_path, known):
    target, mapping = await one_file(tmp_path, known)
    summary = await run_load(target, tmp_path, mapping, verify_content=known == "checked")
    assert target.cut, "it was read"
    assert (summary["status"], len(target.files)) == ("complete", 1)
    assert not summary.get("content", {}).get("differs")


@pytest.mark.parametrize("known", ["in doubt", "arrived"])
async def test_a_rollback_reads_a_file_of_unknown_length_once_more(tmp_path, known):
    target, _ = await one_file(tmp_path, known)
    summary = await run_rollback(target, tmp_path)
    assert target.cut, "it was read"
    assert (summary["status"], summary["deletions"]["deleted"], len(target.files)) == ("complete", 1, 0)


async def test_several_unreadable_candidates_keep_a_file_from_being_sent_again(tmp_path):
    target, mapping = await two_in_doubt(tmp_path)
    silent = RetryingTarget(NeverRead(target), PATIENCE)
    for _ in range(2):
        summary = await run_load(target, tmp_path, mapping, target=silent)
        assert (summary["status"], summary["uploads"]["failed"], target.uploads) == ("incomplete", 2, 2)
        assert "can't be read back" in summary["failures"][0]["reason"]
        assert rows(tmp_path, "SELECT DISTINCT status FROM uploads") == [("in_doubt",)]
    assert (await run_load(target, tmp_path, mapping))["status"] == "complete"
    assert target.uploads == 2


async def test_earlier_files_of_others_are_never_taken_for_what_was_sent(archive):
    root, target, mapping = archive
    [(to,)] = mapping.values()
    theirs = {target.attach(to, f"THEIRS {n}", content).id for n, (_, content) in enumerate(FILES)}
    target.alters_names = str.upper
    summary = await run_load(target, root, mapping, target=answering(target, "lost"))
    assert (summary["status"], target.uploads) == ("complete", len(FILES))
    await run_rollback(target, root)
    assert target.files.keys() == theirs


async def test_a_rollback_deletes_no_file_in_doubt_known_by_its_bytes_alone(tmp_path):
    target, _ = await two_in_doubt(tmp_path)
    summary = await run_rollback(target, tmp_path)
    assert (summary["status"], summary["deletions"]["failed"], len(target.files)) == ("incomplete", 2, 2)
    assert "somebody else's" in summary["failures"][0]["reason"]


@ALTERED
async def test_a_rollback_finds_what_was_in_doubt_under_the_name_it_has(archive, alter):
    root, target, mapping = archive
    target.alters_names = alter
    await run_load(target, root, mapping)
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("UPDATE uploads SET status = 'in_doubt', remote_id = NULL, altered = NULL, name = sent_name")
    summary = await run_rollback(target, root)
    left = {file.name for file in target.files.values()}
    assert summary["deletions"]["deleted"] + summary["deletions"]["failed"] == len(FILES)
    assert all(not resembles(name, alter(name)) for name, _ in FILES if alter(name) in left)


REWRITTEN = {
    "line ends": lambda content: content.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "Latin-1": lambda content: content.decode().encode("latin-1"),
}


@pytest.mark.parametrize("rewrite", REWRITTEN.values(), ids=REWRITTEN.keys())
@pytest.mark.parametrize("how", ["told", "nothing", "lost"])
@pytest.mark.parametrize("sizes", [True, False])
async def test_a_text_that_the_target_re_encoded_has_arrived(tmp_path, rewrite, how, sizes):
    source, text = MemoryTracker(), "Gr\u00fc\u00dfe\nund mehr\n".encode()
    source.attach(source.add("Bug"), "notes.txt", text)
    await run_backup(source, tmp_path)
    target = MemoryTracker(reports_size=sizes)
    mapping = {ref: (target.add("Issue"),) for ref in source.entities}
    target.alters_content = rewrite
    summary = await run_load(target, tmp_path, mapping, target=answering(target, how))
    checked = await run_load(target, tmp_path, mapping, verify_content=True)
    assert (summary["status"], checked["status"], checked["content"]["same"]) == ("complete", "complete", 1)
    [(altered,)] = rows(tmp_path, "SELECT altered FROM uploads")
    assert json.loads(altered).keys() <= {"size", "content"}
    assert target.uploads == 1
    assert (await run_rollback(target, tmp_path))["deletions"]["deleted"] == 1


@pytest.mark.parametrize("how", ["told", "nothing", "lost"])
async def test_a_size_that_the_target_lists_wrongly_is_told_and_no_failure(archive, how):
    root, target, mapping = archive

    class Miscounting(Answering):
        async def find_attachments(self, owner):
            return tuple(replace(file, size=file.size + 7) for file in await super().find_attachments(owner))

    goal = Miscounting(target)
    goal.how = how
    summary = await run_load(target, root, mapping, target=RetryingTarget(goal, PATIENCE))
    assert (summary["status"], target.uploads) == ("complete", len(FILES))
    assert all(one["how"]["size"]["found"] == one["how"]["size"]["sent"] + 7 for one in summary["altered"])
    again = await run_load(target, root, mapping, target=RetryingTarget(goal, PATIENCE))
    assert (again["status"], target.uploads) == ("complete", len(FILES))
    undone = await run_rollback(target, root, target=RetryingTarget(goal, PATIENCE))
    assert (undone["status"], target.files) == ("complete", {})


async def test_a_text_that_arrives_garbled_is_a_failure(tmp_path):
    source, text = MemoryTracker(), "Gr\u00fc\u00dfe\n".encode()
    source.attach(source.add("Bug"), "notes.txt", text)
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    target.alters_content = lambda content: content.decode("latin-1").encode()
    summary = await run_load(target, tmp_path, mapping)
    assert (summary["status"], target.uploads) == ("incomplete", 1)
    assert (await run_load(target, tmp_path, mapping))["status"] == "incomplete"
    assert target.uploads == 1


def test_only_text_is_compared_as_text():
    assert same_text(b"a\r\nb", b"a\nb\n")
    assert same_text("\u00e4".encode(), "a\u0308".encode("utf-16"))
    assert not same_text(b"\x00\x01\r\n", b"\x00\x01\n")
    assert not same_text(b"one", b"two")


async def test_a_passing_name_of_an_adapter_is_known_as_one():
    assert is_passing(await passing_name('say "yes".txt', Bytes(b"yes")))


async def test_uploads_answered_by_a_login_page_end_the_load_after_three(archive):
    root, target, mapping = archive
    sent = []

    class Locked(MemoryTarget):
        async def upload(self, owner, draft, body):
            sent.append(draft.name)
            raise LoginPageError("a login page")

    for build in (Locked, lambda tracker: RetryingTarget(Locked(tracker), PATIENCE)):
        sent.clear()
        with pytest.raises(AuthError, match="3 uploads in a row"):
            await run_load(target, root, mapping, target=build(target), look_again=1e-9)
        assert len(sent) == len(set(sent)) or sent.count("same.txt") == 2
        assert len(sent) == 3, "none of them twice"
    assert_settled(root, target, await run_load(target, root, mapping))


async def test_uploads_that_are_all_answered_with_401_end_the_load_after_three(archive):
    root, target, mapping = archive
    sent = []

    class Locked(MemoryTarget):
        async def upload(self, owner, draft, body):
            sent.append(draft.name)
            raise RejectedError("POST upload: status 401", status=401)

    with pytest.raises(AuthError, match="401"):
        await run_load(target, root, mapping, target=RetryingTarget(Locked(target), PATIENCE))
    assert len(sent) == 3


async def test_a_login_page_now_and_then_ends_no_load(archive):
    root, target, mapping = archive
    numbers = itertools.count()

    class Moody(MemoryTarget):
        async def upload(self, owner, draft, body):
            if next(numbers) % 3 < 2:
                raise LoginPageError("a login page")
            return await super().upload(owner, draft, body)

    summary = await run_load(target, root, mapping, target=RetryingTarget(Moody(target), PATIENCE), uploads=1)
    assert summary["status"] == "incomplete"
    assert_settled(root, target, await run_load(target, root, mapping))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("alter", "first"), [("composes", 1), ("changes case", 5), ("calls all the same", 9)])
def test_a_load_with_altered_names_killed_at_any_step_sends_each_file_once(tmp_path, alter, first):
    """A quick run tries each twelfth step of each, so each fourth of any."""
    source = MemoryTracker()
    owner = source.add("Bug")
    for name, content in FILES[:5]:
        source.attach(owner, name, content, description="told")
    archive = tmp_path / "archive"
    asyncio.run(run_backup(source, archive))

    def twin():
        target = MemoryTracker()
        target.alters_names = ALTERATIONS[alter]
        return target, {ref: (target.add("Issue"),) for ref in source.entities}

    def work_in(root, state):
        async def work(steps):
            target, mapping = twin()
            restore(target, state)
            lasting = RetryingTarget(LastingTarget(target, state, steps), PATIENCE)
            await run_load(target, root, mapping, target=lasting, uploads=2)

        return work

    for step in itertools.count(1 if FULL else first, 1 if FULL else 3 * STRIDE):
        root, state = tmp_path / str(step), tmp_path / f"{step}.state"
        shutil.copytree(archive, root)
        code, _ = in_child(work_in(root, state), die_at=step)
        if code == DONE:
            assert step > 30
            break
        assert code == DIED, step
        assert in_child(work_in(root, state), die_at=0)[0] == DONE, step
        target, _ = twin()
        restore(target, state)
        assert contents(target) == sorted(content for _, content in FILES[:5]), step
        open_ones = rows(root, "SELECT status FROM uploads WHERE status NOT IN ('uploaded', 'already_there')")
        assert open_ones == [], step
        for path in (root, state):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


async def test_a_file_without_a_size_is_not_read_as_if_it_had_the_size_sent():
    """Such a read fails for a file of another size, and would be retried for minutes."""
    tracker = MemoryTracker(reports_size=False)
    owner = tracker.add("Bug")
    other = tracker.attach(owner, "report 1.txt", bytes(100))
    sent = Attachment("1", owner, "report 2.txt")
    upload = Upload(sent, Blob("0" * 64, 5), owner, UploadStatus.IN_DOUBT, sent_run=1, sent_name="report 2.txt")

    class Watched(MemoryTarget):
        async def read_back(self, remote, sink):
            assert remote.size is None
            await super().read_back(remote, sink)

    class NoBlobs:
        def body(self, _):
            return None

    recognised = await recognise([upload], [other], Reader(Watched(tracker), NoBlobs()))
    assert not recognised.files
