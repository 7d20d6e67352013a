"""Probes of a target: files with odd names and contents are sent to one entity, read back, compared, and deleted again.

Beware: this writes. All files have a name that begins with LEFTOVER, so that a person recognises what could not be
deleted.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Draft, EntityRef
from migrator.pipeline.reading import HashSink, same_text
from migrator.pipeline.summary import Check
from migrator.pipeline.thorough.probing import MINUTES, Fact, Finding, Note, Probe, tried
from migrator.pipeline.thorough.samples import MIB, SAMPLES, Sample
from migrator.ports import Body, Target

LEFTOVER = "migrator-check"
"""The beginning of the name of each file that is sent."""
KIB = 1024
MAX_PROBED_BYTES = 32 * MIB
"""The largest file that is sent to find the target's limit."""
NONE_THERE = "not tried: no file arrived"


class _Bytes(Body):
    """A body in memory."""

    def __init__(self, content: bytes) -> None:
        self._content, self.size = content, len(content)

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 64 * KIB):
            yield self._content[start : start + 64 * KIB]


@dataclass(slots=True)
class Sent:
    """What became of a sample: its name as it was sent; the file that it became and what is in it, if any."""

    sample: Sample
    name: str
    reason: str = ""
    remote: Attachment | None = None
    content: bytes | None = None

    @property
    def arrived(self) -> bool:
        """Whether its bytes came back as they were sent."""
        return self.content == self.sample.content

    @property
    def re_encoded(self) -> bool:
        """Whether its text came back in another encoding."""
        return self.content is not None and not self.arrived and same_text(self.sample.content, self.content)


async def probe_target(target: Target, to: EntityRef, note: Note, minutes: float = MINUTES) -> tuple[Check, ...]:
    """Try what a load relies on, on this entity. What is sent is deleted in the end, however that comes."""
    probes = _TargetProbes(target, to)
    try:
        checks = await tried(probes.all(), minutes, note)
    finally:
        left = await probes.clean_up()
    return (*checks, left.as_check("deleting"))


class _TargetProbes:
    """The probes of one target entity; the first sends what the others look at."""

    def __init__(self, target: Target, to: EntityRef) -> None:
        self._target, self._to = target, to
        self._mark = f"{LEFTOVER}-{random.SystemRandom().randrange(16**6):06x}"
        self._before: dict[str, Attachment] = {}
        self._sent: list[Sent] = []
        self._listed: dict[str, Attachment] = {}

    def all(self) -> list[Probe]:
        return [
            ("sending", self._sending),
            ("contents", self._contents),
            ("names", self._names),
            ("sizes", self._sizes),
            ("two of one name", self._same_name),
            ("largest file", self._largest),
        ]

    async def _sending(self) -> Finding:
        self._before = {file.id: file for file in await self._target.find_attachments(self._to)}
        for sample in SAMPLES:
            self._sent.append(await self._send(sample))
        self._listed = {file.id: file for file in await self._target.find_attachments(self._to)}
        await self._recognise()
        refused = [sent for sent in self._sent if sent.reason]
        lost = [sent for sent in self._sent if not sent.reason and sent.content is None]
        facts: dict[str, Fact] = {"sent": len(self._sent), "refused": len(refused), "lost": len(lost)}
        facts.update((f"refused: {sent.sample.what}", True) for sent in refused)
        facts.update((f"lost: {sent.sample.what}", True) for sent in lost)
        if lost:
            names = ", ".join(sent.sample.what for sent in lost)
            means = "a load would send such files and not find them; it names them as failed"
            return Finding(f"accepted, and not found afterwards: {names}", means, fails=True, facts=facts)
        if len(refused) == len(self._sent):
            means = "a load can't bring any file to this entity"
            return Finding(f"all files are refused: {refused[0].reason}", means, fails=True, facts=facts)
        if refused:
            why = "; ".join(f"{sent.sample.what} ({sent.reason})" for sent in refused)
            means = "a load names such files as failed; the archive keeps them"
            return Finding(
                f"{len(refused)} of {len(self._sent)} files are refused: {why}", means, odd=True, facts=facts
            )
        return Finding(f"{len(self._sent)} files were accepted and are there", facts=facts)

    async def _send(self, sample: Sample) -> Sent:
        name = self._target.legal_name(f"{self._mark} {sample.name}")
        draft = Draft(name, sample.media_type, "", len(sample.content))
        sent = Sent(sample, name)
        try:
            if reason := await self._target.refuses(self._to, draft):
                sent.reason = reason
            else:
                sent.remote = await self._target.upload(self._to, draft, _Bytes(sample.content))
        except errors.OutcomeUnknownError:
            pass  # it is looked for
        except errors.ItemFailedError as error:
            sent.reason = str(error)
        return sent

    async def _recognise(self) -> None:
        """Find the file that each sample became: by the id in the answer, else by what is in the new files."""
        new = {id_: file for id_, file in self._listed.items() if id_ not in self._before}
        contents = {id_: await self._read(file) for id_, file in new.items()}
        open_ones = []
        for sent in self._sent:
            answered = sent.remote.id if sent.remote is not None else ""
            if answered in new:
                sent.remote, sent.content = new.pop(answered), contents[answered]
            elif not sent.reason:
                open_ones.append(sent)
        for sent in open_ones:
            same = [id_ for id_ in new if contents[id_] == sent.sample.content]
            if found := next((id_ for id_ in same if new[id_].name == sent.name), next(iter(same), None)):
                sent.remote, sent.content = new.pop(found), contents[found]

    async def _read(self, file: Attachment) -> bytes | None:
        sink = HashSink(keep=2 * MIB)
        with suppress(errors.ItemFailedError):
            await self._target.read_back(file, sink)
            return sink.content
        return None

    async def _contents(self) -> Finding:
        there = [sent for sent in self._sent if sent.content is not None]
        re_encoded = [sent.sample.what for sent in there if sent.re_encoded]
        other = [sent.sample.what for sent in there if not sent.arrived and not sent.re_encoded]
        if not there:
            return Finding(NONE_THERE, odd=True, facts={"whole": 0})
        facts = {"whole": sum(sent.arrived for sent in there), "re_encoded": len(re_encoded), "other": len(other)}
        if other:
            means = "a load compares what arrives, and names such files as failed"
            detail = f"came back different: {', '.join(other)}"
            return Finding(detail, means, fails=True, facts=facts)
        if re_encoded:
            means = "such files count as uploaded, and the report says that their text was re-encoded"
            return Finding(f"re-encoded by the tracker: {', '.join(re_encoded)}", means, odd=True, facts=facts)
        return Finding(f"{len(there)} files came back byte by byte", facts=facts)

    async def _names(self) -> Finding:
        there = [sent for sent in self._sent if sent.remote is not None and sent.content is not None]
        if not there:
            return Finding(NONE_THERE, odd=True, facts={"kept": 0})
        legal = {sent.sample.what for sent in there if sent.name != f"{self._mark} {sent.sample.name}"}
        renamed = [
            (sent.sample.what, sent.name, sent.remote.name)
            for sent in there
            if sent.remote is not None
            and sent.remote.name != sent.name
            and not sent.sample.what.startswith("same name")
        ]
        facts: dict[str, Fact] = {"kept": len(there) - len(renamed), "renamed": len(renamed), "made_legal": len(legal)}
        facts.update((f"renamed: {what}", True) for what, _, _ in renamed)
        if renamed:
            what, was, now = renamed[0]
            means = "such files count as uploaded, and the report names old and new names"
            detail = f"the tracker renames {len(renamed)} of {len(there)}, such as {what}: {was!r} to {now!r}"
            return Finding(detail, means, odd=True, facts=facts)
        known = f"; made legal before they are sent: {', '.join(sorted(legal))}" if legal else ""
        return Finding(f"{len(there)} names are kept as they were sent{known}", facts=facts)

    async def _sizes(self) -> Finding:
        listed = [(sent, self._listed.get(sent.remote.id)) for sent in self._sent if sent.remote and sent.content]
        if not listed:
            return Finding(NONE_THERE, odd=True, facts={"listed": 0})
        wrong = [sent for sent, file in listed if file and file.size not in {None, len(sent.content or b"")}]
        untold = sum(file is None or file.size is None for _, file in listed)
        facts = {"listed": len(listed) - untold, "wrong": len(wrong)}
        if wrong:
            means = "a load reads such files back before it believes that they arrived, which takes longer"
            return Finding(f"{len(wrong)} files are listed with a wrong size", means, odd=True, facts=facts)
        return Finding(f"{len(listed) - untold} of {len(listed)} files are listed with their size", facts=facts)

    async def _same_name(self) -> Finding:
        pair = [sent for sent in self._sent if sent.sample.what.startswith("same name")]
        if any(sent.reason for sent in pair):
            return Finding("not tried: such files are refused", odd=True, facts={"kept": None})
        there = sum(sent.arrived for sent in pair)
        if there == len(pair):
            return Finding("both are kept", facts={"kept": there})
        means = "of two files with one name on one entity, the tracker keeps one: a load must not send the second"
        return Finding(f"{there} of {len(pair)} are there", means, fails=True, facts={"kept": there})

    async def _largest(self) -> Finding:
        """Double the size until the target refuses, or another file comes back."""
        accepted, size, reason = 0, MIB, ""
        while size <= MAX_PROBED_BYTES and not reason:
            if not (reason := await self._reason_against(bytes(size), f"large {size // MIB}.bin")):
                accepted, size = size, 2 * size
        facts: dict[str, Fact] = {"accepted_bytes": accepted, "limit_found": bool(reason)}
        if reason:
            means = "a load names larger files as failed; can the tracker's administrator raise the limit?"
            detail = f"{accepted // MIB} MiB is accepted, {size // MIB} MiB is not: {reason}"
            return Finding(detail, means, odd=True, facts=facts)
        return Finding(f"{accepted // MIB} MiB is accepted; more was not tried", facts=facts)

    async def _reason_against(self, content: bytes, name: str) -> str:
        """Why a file of zeros can't be sent, or doesn't come back as it was; empty if it does."""
        sent = await self._send(Sample("", name, content))
        self._sent.append(sent)
        if sent.reason:
            return sent.reason
        files = {file.id: file for file in await self._target.find_attachments(self._to)}
        new = [file for id_, file in files.items() if id_ not in self._before and id_ not in self._listed]
        self._listed = files
        sink, wanted = HashSink(), hashlib.sha256(content).digest()
        for file in new:
            sink.rewind()
            await self._target.read_back(file, sink)
            if sink.sha256.digest() == wanted:
                return ""
        return f"it came back with {sink.size} bytes" if new else "it was not found afterwards"

    async def clean_up(self) -> Finding:
        """Delete what was sent: all that is new on the entity and has our mark in its name, or came in an answer."""
        answered = {sent.remote.id for sent in self._sent if sent.remote is not None}
        try:
            files = await self._target.find_attachments(self._to)
            ours = [file for file in files if file.id not in self._before]
            ours = [file for file in ours if self._mark in file.name or file.id in answered]
            if ours and not self._target.capabilities.deletes:
                return self._left(ours, "this tracker's API can't delete files")
            for file in ours:
                with suppress(errors.GoneError):
                    await self._target.delete(file)
            still = {file.id for file in await self._target.find_attachments(self._to)}
            left = [file for file in ours if file.id in still]
        except errors.MigratorError as error:
            return Finding(
                f"files may be left on {self._to}, named {self._mark!r}: {error}", odd=True, facts={"left": None}
            )
        if left:
            return self._left(left, "the tracker said that they were deleted")
        return Finding(f"all {len(ours)} files are deleted again", facts={"deleted": len(ours), "left": 0})

    def _left(self, files: list[Attachment], why: str) -> Finding:
        facts: Mapping[str, Fact] = {"left": len(files)}
        detail = f"{len(files)} files are left on {self._to}, named {self._mark!r}: {why}"
        return Finding(detail, "`rollback` can't take back a load; please delete them by hand", odd=True, facts=facts)
