"""The adapters for Request Tracker and Trac keep the port against the sandboxes' whole world, its oddities included."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from migrator.model import Attachment, Entity, EntityRef
from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from migrator.testing import BoundSource, BoundTarget, Expected, SourceContract, TargetContract, Truth, nowhere
from migrator.trackers import adapter
from migrator.wire.client import HttpClient
from tests.support.opened import closed_later

WORLD = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
WRONG = {"rt": {"token": "wrong"}, "trac": {"username": "admin", "password": "wrong"}}
OPTIONS = {"rt": {"create_queue": "Support"}, "trac": {"create_type": "task"}}
GONE = {"rt": "99999", "trac": "101/gone.txt"}
CASES = [
    ("rt", {}),
    ("rt", {"base_path": "/rt", "superuser": False}),
    ("trac", {}),
    ("trac", {"base_path": "/trac", "items_per_page": 7}),
]


class Bound:
    """Makes adapters for a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.parts = sandbox, adapter(sandbox.tracker)

    def made(self, side: str, url: str = "", auth: dict[str, str] | None = None):
        http = HttpClient(url or self.sandbox.url, self.parts.signer(auth or self.sandbox.credentials), timeout=20)
        known = self.parts.options.__dataclass_fields__
        options = {key: value for key, value in OPTIONS[self.sandbox.tracker].items() if key in known}
        return closed_later(getattr(self.parts, side)(closed_later(http), self.parts.options(**options)))

    def ref(self, number: int) -> EntityRef:
        return EntityRef(self.sandbox.kind_of(number), str(number))

    def missing(self) -> EntityRef:
        return EntityRef(self.sandbox.kind_of(101), "99999")

    def gone(self, owner: EntityRef) -> Attachment:
        return Attachment(GONE[self.sandbox.tracker], owner, "gone.txt")

    def held(self) -> list[Expected]:
        """All files that a source should find. Those of an RT have no descriptions."""
        state, described = self.sandbox.state, self.sandbox.tracker == "trac"
        return [
            Expected(self.ref(entity.id), file.name, file.size, file.sha256, (file.description or "") * described)
            for entity in state.entities()
            for file in state.files_of(entity.id)
        ]


@pytest.fixture
async def of(request: pytest.FixtureRequest) -> AsyncIterator[Bound]:
    name, quirks = request.param
    async with SANDBOXES[name](WORLD, **quirks) as sandbox:
        yield Bound(sandbox)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    for module in ("rt.source", "rt.api", "trac.source"):
        monkeypatch.setattr(f"migrator.trackers.{module}.PAGE_SIZE", 5)


@pytest.mark.parametrize("of", CASES, indirect=True, ids=str)
class TestSource(SourceContract):
    @pytest.fixture
    def bound(self, of: Bound) -> BoundSource:
        first = of.ref(WORLD.entities[0].id)
        return BoundSource(
            of.made("source"),
            lambda: of.made("source"),
            {of.ref(entity.id) for entity in WORLD.entities},
            of.held(),
            gone=of.gone(first),
            missing=Entity(of.missing()),
            refused=lambda: of.made("source", auth=WRONG[of.sandbox.tracker]),
            unreachable=lambda: of.made("source", nowhere()),
        )


@pytest.mark.parametrize("of", CASES, indirect=True, ids=str)
class TestTarget(TargetContract):
    @pytest.fixture
    def bound(self, of: Bound) -> BoundTarget:
        busiest = Counter(file.owner for file in of.held()).most_common(1)[0][0]

        async def files_of(ref: EntityRef) -> list[Truth]:
            described = of.sandbox.tracker == "trac"
            files = of.sandbox.state.files_of(int(ref.id))
            return [(file.name, file.size, file.sha256, (file.description or "") * described) for file in files]

        return BoundTarget(
            of.made("target"),
            lambda: of.made("target"),
            busiest,
            of.missing(),
            files_of,
            gone=of.gone(busiest),
            refused=lambda: of.made("target", auth=WRONG[of.sandbox.tracker]),
            unreachable=lambda: of.made("target", nowhere()),
            limits_names=of.sandbox.tracker != "trac",
        )
