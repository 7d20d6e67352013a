"""An object store in memory: conditional writes, answers that are lost, and a clock that a seed moves.

It takes the place of obstore's store, below the real `Bucket`, and fails like it: a write of which nobody knows whether
it arrived is a `GenericError`. Where obstore repeats a request by itself, the repetition may meet what the first one
has written, which then looks like somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError

from tests.simulation.faults import FaultInjector
from tests.simulation.loop import Killed
from tests.simulation.toy_age import opened

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class StoredObject(NamedTuple):
    """An object: its content, its tag, and when it was written by the store's clock."""

    content: bytes
    e_tag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Got:
    """What obstore hands out for an object."""

    meta: dict[str, Any]
    content: bytes

    def bytes(self) -> bytes:
        """All of it."""
        return self.content

    def stream(self, min_chunk_size: int) -> Iterator[bytes]:
        """It in parts."""
        for at in range(0, len(self.content), 1000):
            yield self.content[at : at + 1000]


@dataclass(slots=True)
class MemoryStore:
    """The store. `injector` is that of the present run; `conditional`: it heeds conditions on writes; `refuses` is the
    chance that it refuses a write; `damaged` are blobs that were damaged there, and not replaced yet.
    """

    injector: FaultInjector
    conditional: bool = True
    refuses: float = 0.0
    objects: dict[str, StoredObject] = field(default_factory=dict)
    seconds: float = 0.0
    writes: int = 0
    damaged: set[str] = field(default_factory=set)

    def get(self, path: str) -> Got:
        """An object."""
        self._before(f"get {_kind(path)}", reads=True)
        return Got(self._meta(path), self._stored(path).content)

    def head(self, path: str) -> dict[str, Any]:
        """What there is to know of an object."""
        self._before(f"head {_kind(path)}", reads=True)
        return self._meta(path)

    def put(self, path: str, body: Any, *, mode: Any = None, use_multipart: bool = False, **_: object) -> Any:
        """Write an object, at once or in parts."""
        call = f"put {_kind(path)}"
        self._before(call)
        content = body
        if use_multipart:
            parts = []
            for part in body:
                parts.append(part)
                self._before(f"part {_kind(path)}")
            content = b"".join(parts)
        elif self.conditional:
            self._require(path, mode)
        self._write(path, bytes(content))
        try:
            self._after(call)
        except GenericError:
            if use_multipart and self.injector.rng.random() < 0.7:  # the completion is repeated
                raise FileNotFoundError("NoSuchUpload: the specified multipart upload does not exist") from None
            if self.conditional and mode is not None and self.injector.rng.random() < 0.5:  # the write is repeated
                raise (AlreadyExistsError if mode == "create" else PreconditionError)(path) from None
            raise
        return {"e_tag": self.objects[path].e_tag}

    def copy(self, path: str, to: str, *, overwrite: bool) -> None:
        """Copy an object."""
        assert overwrite
        self._before(f"copy {_kind(to)}")
        self._write(to, self._stored(path).content)
        self._after(f"copy {_kind(to)}")

    def delete(self, paths: list[str]) -> None:
        """Delete objects; what is not there doesn't matter."""
        self._before(f"delete {_kind(paths[0])}")
        for number, path in enumerate(paths):
            if self.injector.strikes(self.injector.plan.network / 4) and number:
                raise GenericError("the connection was cut between two requests")
            self.objects.pop(path, None)
        self._after(f"delete {_kind(paths[0])}")

    def list(self, prefix: str | None) -> Iterator[list[dict[str, Any]]]:
        """Pages of what is below a prefix."""
        self._listing()
        there = [path for path in sorted(self.objects) if path.startswith(prefix or "")]
        yield from ([self._meta(path)] for path in there)

    def list_with_delimiter(self, prefix: str | None) -> dict[str, Any]:
        """What is right below a prefix."""
        self._listing()
        start = prefix or ""
        below = [path for path in sorted(self.objects) if path.startswith(start)]
        folders = {start + path[len(start) :].partition("/")[0] for path in below if "/" in path[len(start) :]}
        return {
            "common_prefixes": sorted(folders),
            "objects": [self._meta(path) for path in below if "/" not in path[len(start) :]],
        }

    def _require(self, path: str, mode: Any) -> None:
        there = self.objects.get(path)
        if mode == "create" and there is not None:
            raise AlreadyExistsError(path)
        if isinstance(mode, dict) and (there is None or there.e_tag != mode["e_tag"]):
            raise PreconditionError(path)

    def _write(self, path: str, content: bytes) -> None:
        self.writes += 1
        tag = f"{sha256(content).hexdigest()[:8]}-{self.writes}"
        self.objects[path] = StoredObject(content, tag, EPOCH + timedelta(seconds=self.seconds))

    def _stored(self, path: str) -> StoredObject:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def _meta(self, path: str) -> dict[str, Any]:
        there = self._stored(path)
        return {"path": path, "size": len(there.content), "e_tag": there.e_tag, "last_modified": there.at}

    def _before(self, call: str, *, reads: bool = False) -> None:
        """A request that may be refused, or get lost on its way there. obstore repeats reads, so few of them fail."""
        injector = self.injector
        self.seconds += 0.1
        if injector.dead:
            raise Killed("a dead process asks for nothing")
        injector.at(f"before {call}")
        if injector.strikes(0.0 if reads else self.refuses):
            raise PermissionDeniedError("403")
        if injector.strikes(injector.plan.network / (20 if reads else 2)):
            raise GenericError("it never got there")
        if injector.strikes(injector.plan.network / 20):
            self.seconds += 150  # everything stands still: the lock has to be renewed before a write

    def _listing(self) -> None:
        """A listing. There are hundreds in a run, so they are no crash points, and few fail."""
        if self.injector.dead:
            raise Killed("a dead process asks for nothing")
        if self.injector.strikes(self.injector.plan.network / 1000):
            raise GenericError("the listing broke off")

    def _after(self, call: str) -> None:
        self.injector.at(f"after {call}")
        if self.injector.strikes(self.injector.plan.network):
            raise GenericError("the answer was lost")


def _kind(path: str) -> str:
    """A path without what differs from one object to the next."""
    return path.partition("/")[0]


def blobs_in(objects: dict[str, StoredObject]) -> dict[str, bytes]:
    """The blobs of an archive in a store, by name; an encrypted one has the name of what is in it."""
    blobs: dict[str, bytes] = {}
    for path, each in objects.items():
        if path.startswith("blobs/") and path.endswith(".age"):
            content = opened(each.content)
            blobs[sha256(content).hexdigest()] = content
        elif path.startswith("blobs/"):
            blobs[path.rpartition("/")[2]] = each.content
    return blobs


def journal_in(objects: dict[str, StoredObject]) -> bytes | None:
    """The journal of an archive in a store; None if there is none."""
    if sealed := objects.get("manifest.jsonl.age"):
        return opened(sealed.content)
    return objects["manifest.jsonl"].content if "manifest.jsonl" in objects else None


def unsound(blobs: dict[str, bytes], wanted: Iterable[str]) -> list[str]:
    """Which of these blobs are missing, or not what their names say."""
    return [name for name in wanted if name not in blobs or sha256(blobs[name]).hexdigest() != name]
