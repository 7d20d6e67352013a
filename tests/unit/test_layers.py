"""Layers are sources and targets themselves; each adds one thing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from migrator import errors
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.forwarding import SourceWrapper, TargetWrapper
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment, Draft, EntityRef
from migrator.ports import BodyFacts, Sink, Source, Target
from migrator.testing import Bytes, MemorySink, SourceContract, TargetContract, TargetReadContract
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker
from tests.trackers.memory_bound import bound_source, bound_target


class TestVerifiedSource(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(), VerifiedSource)


class TestRetryingVerifiedSource(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(), lambda source: RetryingSource(VerifiedSource(source), RetryPolicy()))


class TestRetryingTarget(TargetContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker(), lambda target: RetryingTarget(target, RetryPolicy()))


class TestDryRunTarget(TargetReadContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker(), DryRunTarget)


def verbs(port: type) -> set[str]:
    return {name for name in dir(port) if not name.startswith("_")} - {"capabilities"}


def test_every_verb_is_passed_on():
    assert verbs(Source) == {name for name in vars(SourceWrapper) if not name.startswith("_")}
    assert verbs(Target) - set(vars(TargetWrapper)) == set()


def test_every_verb_that_asks_the_tracker_is_repeated():
    assert verbs(Source) - set(vars(RetryingSource)) == {"close"}
    assert verbs(Target) - set(vars(RetryingTarget)) == {"close", "legal_name"}


def test_verbs_that_a_rehearsal_passes_on_are_those_that_only_read():
    reads = {"check", "oddities", "close", "legal_name", "refuses", "find_attachments", "read_back"}
    assert verbs(Target) - set(vars(DryRunTarget)) == reads | {"require_creating", "find_entity"}


# --- patience


class Clock:
    """Takes the waits of a `RetryPolicy` without waiting."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def failing(error: Exception, times: int = 10**6):
    """Raises so often, then gives 'done'; `calls` counts."""

    async def call() -> str:
        call.calls += 1
        if call.calls <= times:
            raise error
        return "done"

    call.calls = 0
    return call


async def test_waits_double_with_jitter_up_to_the_longest():
    clock = Clock()
    patience = RetryPolicy(retries=8, backoff=0.5, backoff_max=10, max_total_wait=1e6, sleep=clock.sleep)
    call = failing(errors.RetriableError("again"), times=7)
    assert await patience.call(call) == "done"
    assert call.calls == 8
    for wait, step in zip(clock.waits, [0.5, 1, 2, 4, 8, 10, 10], strict=True):
        assert step / 2 <= wait <= step


async def test_waits_are_not_the_same_for_every_worker():
    clock = Clock()
    for _ in range(20):
        await RetryPolicy(sleep=clock.sleep).call(failing(errors.RetriableError("again"), times=1))
    assert len(set(clock.waits)) > 10


async def test_tries_are_capped_and_the_last_error_comes_out():
    clock, error = Clock(), errors.RetriableError("again")
    call = failing(error)
    with pytest.raises(errors.RetriableError) as caught:
        await RetryPolicy(retries=3, sleep=clock.sleep).call(call)
    assert caught.value is error
    assert call.calls == 4
    assert len(clock.waits) == 3


async def test_no_retries_means_one_try():
    clock, call = Clock(), failing(errors.RetriableError("again"))
    with pytest.raises(errors.RetriableError):
        await RetryPolicy(retries=0, sleep=clock.sleep).call(call)
    assert (call.calls, clock.waits) == (1, [])


async def test_what_the_tracker_asks_for_is_waited_even_above_the_longest():
    clock = Clock()
    call = failing(errors.ThrottledError("slow down", retry_after=77), times=1)
    await RetryPolicy(backoff_max=10, sleep=clock.sleep).call(call)
    assert clock.waits == [77]


async def test_short_retry_after_does_not_shorten_the_backoff():
    clock = Clock()
    await RetryPolicy(backoff=8, sleep=clock.sleep).call(failing(errors.ThrottledError("slow", retry_after=0), times=1))
    assert clock.waits[0] >= 4


async def test_all_waits_together_are_capped():
    clock, call = Clock(), failing(errors.RetriableError("again"))
    with pytest.raises(errors.RetriableError):
        await RetryPolicy(retries=1000, backoff=10, backoff_max=10, max_total_wait=100, sleep=clock.sleep).call(call)
    assert 90 <= sum(clock.waits) <= 110
    assert call.calls == len(clock.waits) + 1


async def test_retry_after_beyond_all_patience_is_not_waited_for():
    clock, call = Clock(), failing(errors.ThrottledError("tomorrow", retry_after=86_400))
    with pytest.raises(errors.ThrottledError):
        await RetryPolicy(max_total_wait=900, sleep=clock.sleep).call(call)
    assert (call.calls, clock.waits) == (1, [])


async def test_login_page_gets_fewer_tries():
    clock, call = Clock(), failing(errors.LoginPageError("log in"))
    with pytest.raises(errors.LoginPageError):
        await RetryPolicy(retries=8, login_pages=2, sleep=clock.sleep).call(call)
    assert call.calls == 3


@pytest.mark.parametrize(
    "error",
    [errors.GoneError, errors.ForbiddenError, errors.RejectedError, errors.AuthError, errors.OutcomeUnknownError],
)
async def test_a_definite_answer_is_not_asked_for_again(error):
    clock, call = Clock(), failing(error("no"))
    with pytest.raises(error):
        await RetryPolicy(sleep=clock.sleep).call(call)
    assert call.calls == 1


async def test_a_bug_is_not_repeated():
    call = failing(KeyError("bug"))
    with pytest.raises(KeyError):
        await RetryPolicy(sleep=Clock().sleep).call(call)
    assert call.calls == 1


async def test_cancelling_a_wait_ends_it():
    task = asyncio.create_task(RetryPolicy(backoff=60, backoff_max=60).call(failing(errors.RetriableError("again"))))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- repeating


@pytest.fixture
def tracker():
    return MemoryTracker()


def fail_first(tracker: MemoryTracker, verb: str, error: Exception, times: int = 1) -> list[str]:
    """Let the first calls of a verb fail; gives the list of calls of that verb as it grows."""
    calls: list[str] = []

    async def on_call(called: str, key: str) -> None:
        if called == verb:
            calls.append(key)
            if len(calls) <= times:
                raise error

    tracker.on_call = on_call
    return calls


@pytest.mark.parametrize("verb", ["check", "read", "attachments_of", "download"])
async def test_every_verb_of_a_source_is_repeated(tracker, verb):
    story = tracker.add("Story")
    file = tracker.attach(story, "a.txt", b"a")
    calls = fail_first(tracker, verb, errors.RetriableError("again"), times=2)
    source = RetryingSource(MemorySource(tracker), RetryPolicy(sleep=Clock().sleep))
    await source.check()
    await source.read("asked", None)
    assert await source.attachments_of(tracker.entities[story]) == (file,)
    bucket = MemorySink()
    await source.download(file, bucket)
    assert bytes(bucket.content) == b"a"
    assert len(calls) == 3


@pytest.mark.parametrize("verb", ["check", "find_attachments", "describe", "read_back", "delete"])
async def test_every_verb_of_a_target_that_may_be_repeated_is(tracker, verb):
    bug = tracker.add("Bug")
    file = tracker.attach(bug, "a.txt", b"a")
    calls = fail_first(tracker, verb, errors.RetriableError("again"), times=2)
    target = RetryingTarget(MemoryTarget(tracker), RetryPolicy(sleep=Clock().sleep))
    await target.check()
    await target.find_attachments(bug)
    await target.describe(file, "told")
    bucket = MemorySink()
    await target.read_back(file, bucket)
    assert bytes(bucket.content) == b"a"
    await target.delete(file)
    assert len(calls) == 3
    assert tracker.of(bug) == ()


class Breaking(MemorySource):
    """Breaks off in the middle of the first downloads."""

    breaks = 2

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        if self.breaks:
            self.breaks -= 1
            await sink.start(BodyFacts())
            await sink.write(b"half of i")
            raise errors.UnexpectedBodyError("the body broke off")
        await super().download(attachment, sink)


async def test_what_came_before_the_break_is_forgotten(tracker):
    file = tracker.attach(tracker.add("Bug"), "a.txt", b"the whole of it")
    source = RetryingSource(VerifiedSource(Breaking(tracker)), RetryPolicy(sleep=Clock().sleep))
    bucket = MemorySink()
    await source.download(file, bucket)
    assert bytes(bucket.content) == b"the whole of it"


class BreakingTarget(MemoryTarget):
    """Breaks off in the middle of the first time a file is read back."""

    broken = False

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        if not self.broken:
            self.broken = True
            await sink.start(BodyFacts())
            await sink.write(b"half of i")
            raise errors.UnexpectedBodyError("the body broke off")
        await super().read_back(remote, sink)


async def test_what_came_back_before_the_break_is_forgotten(tracker):
    file = tracker.attach(tracker.add("Bug"), "a.txt", b"the whole of it")
    bucket = MemorySink()
    await RetryingTarget(BreakingTarget(tracker), RetryPolicy(sleep=Clock().sleep)).read_back(file, bucket)
    assert bytes(bucket.content) == b"the whole of it"


async def upload(tracker: MemoryTracker, verb: str, error: Exception) -> tuple[MemoryTracker, list[str]]:
    bug = tracker.add("Bug")
    calls = fail_first(tracker, verb, error)
    target = RetryingTarget(MemoryTarget(tracker), RetryPolicy(sleep=Clock().sleep))
    await target.upload(bug, Draft("a.txt", "text/plain", "", 1), Bytes(b"a"))
    return tracker, calls


@pytest.mark.parametrize(
    "error", [errors.ConnectError("nobody"), errors.ThrottledError("slow"), errors.RetriableError("again")]
)
async def test_upload_that_surely_did_not_arrive_is_sent_again(tracker, error):
    _, calls = await upload(tracker, "upload", error)
    assert len(calls) == 2
    assert tracker.uploads == 1


async def test_upload_without_an_answer_is_never_sent_again(tracker):
    with pytest.raises(errors.OutcomeUnknownError):
        await upload(tracker, "uploaded", errors.OutcomeUnknownError("no answer seen"))
    assert tracker.uploads == 1


@pytest.mark.parametrize("error", [errors.UnexpectedBodyError("not JSON"), errors.LoginPageError("a page")])
async def test_upload_with_an_answer_that_makes_no_sense_is_never_sent_again(tracker, error):
    with pytest.raises(errors.OutcomeUnknownError):
        await upload(tracker, "uploaded", error)
    assert tracker.uploads == 1


# --- verifying


class Sending(MemorySource):
    """Sends what it is told to, whatever was listed."""

    def __init__(self, content: bytes, facts: BodyFacts) -> None:
        super().__init__(MemoryTracker())
        self.content, self.facts = content, facts

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await sink.start(self.facts)
        for at in range(0, len(self.content), 7):
            await sink.write(self.content[at : at + 7])


PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body></body></html>"


async def verify(
    content: bytes, *, size: int | None = None, name: str = "a.png", listed: str = "", **facts: Any
) -> bytes:
    bucket = MemorySink()
    attachment = Attachment("1", EntityRef("Bug", "1"), name, size, media_type=listed)
    await VerifiedSource(Sending(content, BodyFacts(**facts))).download(attachment, bucket)
    return bytes(bucket.content)


async def test_file_as_listed_passes():
    assert await verify(b"twelve bytes", size=12, length=12, media_type="image/png") == b"twelve bytes"
    assert await verify(b"", size=0, length=0) == b""
    assert await verify(b"no size told") == b"no size told"


@pytest.mark.parametrize(
    ("content", "size"),
    [(b"short", 6), (b"too long", 7), (b"", 1), (b"x", 0)],
    ids=["cut", "padded", "empty", "not empty"],
)
async def test_file_of_another_size_than_listed_is_refused(content, size):
    with pytest.raises(errors.UnexpectedBodyError, match="were listed"):
        await verify(content, size=size)


async def test_file_of_another_size_than_announced_is_refused():
    with pytest.raises(errors.UnexpectedBodyError, match="were announced"):
        await verify(b"short", length=6)


async def test_page_in_place_of_a_file_of_unknown_size_is_a_login_page():
    with pytest.raises(errors.LoginPageError):
        await verify(PAGE, media_type="text/html")
    with pytest.raises(errors.LoginPageError):
        await verify(b"\xef\xbb\xbf  \n<!-- hello --> <HTML>", media_type="text/html")


async def test_page_in_place_of_a_file_of_another_size_says_so():
    with pytest.raises(errors.UnexpectedBodyError, match="a web page"):
        await verify(PAGE, size=5, media_type="text/html")


async def test_attachment_that_is_a_page_itself_passes():
    assert await verify(PAGE, size=len(PAGE), name="saved page.html", media_type="text/html") == PAGE
    assert await verify(PAGE, name="PAGE.HTM", media_type="text/html") == PAGE
    assert await verify(PAGE, name="page", listed="text/html; charset=utf-8", media_type="text/html") == PAGE
    assert await verify(PAGE, name="page.txt", media_type="text/html", named=True) == PAGE, (
        "the server names it as a file"
    )


async def test_text_that_only_mentions_html_passes():
    text = b"how to write <html>: an essay"
    assert await verify(text, name="essay.txt", media_type="text/html") == text


# --- rehearsing


async def test_dry_run_writes_nothing_and_says_what_it_would():
    tracker = MemoryTracker()
    bug = tracker.add("Bug")
    file = tracker.attach(bug, "a.txt", b"a")
    target, body = DryRunTarget(MemoryTarget(tracker)), Bytes(b"b")
    answer = await target.upload(bug, Draft("b.txt", "text/plain", "told", 1), body)
    await target.describe(file, "told")
    await target.delete(file)
    assert (answer.name, answer.owner, answer.description) == ("b.txt", bug, "told")
    assert tracker.of(bug) == (file,)
    assert body.passes == 0
