"""What adapters for HTTP APIs share: the verbs that a source and a target implement by the same request.

An adapter that can list the files of an entity and download one has half of both ports.

Beware: a page of HTML may be the file itself or a login page, and only a known size tells them apart (in the layer
above). Without a size, a page is accepted only if the server names it as a file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from typing_extensions import override

from migrator.errors import ItemFailedError
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.ports import Capabilities, Sink, Tracker
from migrator.sniffing import expects_html
from migrator.wire import HttpClient

O = TypeVar("O")  # noqa: E741 - the options of a tracker


class HttpTracker(Tracker, ABC, Generic[O]):
    """The base of an adapter's source and of its target. It owns its client."""

    def __init__(self, http: HttpClient, options: O, capabilities: Capabilities) -> None:
        self._http, self._options = http, options
        self.capabilities = capabilities

    @override
    async def close(self) -> None:
        await self._http.close()

    @override
    async def oddities(self) -> tuple[str, ...]:
        """None are known."""
        return ()

    async def still_lists(self, attachment: Attachment) -> bool:
        """For a source: whether the list of its entity still has a file."""
        return any(file.id == attachment.id for file in await self.find_attachments(attachment.owner))

    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:  # noqa: ARG002
        """For a target: why a file is over the limits that the capabilities name; None if it isn't."""
        return self.capabilities.refuses(draft)

    @abstractmethod
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """All files that are on an entity now; `GoneError` if there is no such entity."""

    @abstractmethod
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """Write the whole file into the sink, once, in constant memory."""

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """For a source: all files of an entity, from its list."""
        return await self.find_attachments(entity.ref)

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """For a target: the same as `download`."""
        await self.download(remote, sink)

    async def _stream(self, file: Attachment, path: str, sink: Sink, query: Mapping[str, str] | None = None) -> None:
        expected = file.size is not None and expects_html(file)
        await self._http.download(path, sink, query, html_expected=expected)


class Describing(Protocol):
    """A target that can give a description to an existing file."""

    async def describe(self, remote: Attachment, description: str) -> None:
        """Set the description; may be repeated."""


async def described(target: Describing, uploaded: Attachment, description: str) -> Attachment:
    """A file that was just uploaded, with its description.

    If the description can't be set, the result has none: the file exists, and an error would have it sent again.
    """
    if description in {"", uploaded.description}:
        return uploaded
    try:
        await target.describe(uploaded, description)
    except ItemFailedError:
        return uploaded
    return replace(uploaded, description=description)
