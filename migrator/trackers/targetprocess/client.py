"""What a Targetprocess source and target share: options, capabilities, logging in, and how a file is fetched.

The API is there if any of its lists answers; anything else that is missing is an oddity, and no reason to stop.

Beware: files are fetched by id below the configured URL, because the server's links contain its own idea of its host;
the rest of a link is only the second way. Tokens may not fetch files (vendor page "Work with Attachments").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import as_object, text
from migrator.trackers.targetprocess.api import Api
from migrator.trackers.targetprocess.files import EntityFiles
from migrator.trackers.targetprocess.parse import INLINE, listed, person, told_why
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import HttpClient

KINDS = (
    *("UserStory", "Task", "Bug", "Feature", "Epic", "PortfolioEpic", "Request", "Impediment", "Project", "Program"),
    *("Release", "Iteration", "TeamIteration", "Team", "Build", "TestCase", "TestPlan", "TestPlanRun", "General"),
)
"""The entity types of every account that carry attachments (the resources with an `Attachments` collection in
`/api/v1/Index/meta`), and General, where a server doesn't tell the type.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    format          "xml" asks for XML; what comes is understood either way
    page_size       items in one answer of a listing, 2 to 1000
    cross_check     which entities are asked for their own list: those with files ("counts"), "all", or only those that
                    tell of more files than the list of all attachments has of them ("off")
    own_kinds       entity types that this account has added itself, so that `kinds` may name them
    create_project  number or name of the project in which entities are created, see [mapping] create_missing
    create_kind     what they become; left out: the original's kind if it needs only a project, else "UserStory"
    inline_images   "list" takes old images inside of texts as files: only with a browser's cookie in
                    [source.download_auth] are they handed out, else each is told as failed; "skip" leaves them out
    max_bytes       the largest file that the server takes (the API doesn't tell it); 0 where nobody knows
    """

    format: Literal["json", "xml"] = "json"
    page_size: int = 500
    cross_check: Literal["counts", "all", "off"] = "counts"
    own_kinds: tuple[str, ...] = ()
    inline_images: Literal["list", "skip"] = "list"
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


CAPABILITIES = Capabilities(
    streams=("Attachments", "Generals", "Comments", "Messages"),
    kinds=KINDS,
    entity_streams=("Generals",),
    creates=True,
    max_connections=16,
    max_writes=1,
    deletes=True,
)


def capabilities_with(options: Options) -> Capabilities:
    """The facts, as far as options tell them. Images inside of texts have no size."""
    return replace(
        CAPABILITIES,
        kinds=tuple(dict.fromkeys((*KINDS, *options.own_kinds))),
        reports_size=options.inline_images == "skip",
        max_attachment_bytes=options.max_bytes or None,
    )


class Targetprocess(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, capabilities_with(options))
        self._api = Api(http, options.format, options.page_size)
        self._files = EntityFiles(self._api, http)

    @override
    async def close(self) -> None:
        await self._api.close()
        await super().close()

    @override
    async def check(self) -> str:
        """A server without `Context`, or one that keeps it to itself, is known by its lists."""
        try:
            context = await self._api.ask("Context")
        except errors.ConnectError:
            raise
        except errors.ItemFailedError as error:
            return f"Targetprocess of unknown version; {await self._known_by(error)}"
        user = as_object(context.get("LoggedUser"))
        version, login = text(context.get("Version")), text(user.get("Login")) or person(user) or "somebody"
        return f"Targetprocess {version or 'of unknown version'} as {login}"

    @override
    async def oddities(self) -> tuple[str, ...]:
        try:
            await self._api.ask("Context")
        except errors.ItemFailedError as error:
            return (
                f"it doesn't tell whom it lets in, nor its version ({error}); what this account may see is unknown",
            )
        return ()

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return tuple((await self._files.of(owner)).values())

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`NotExposedError` for an image inside of a text, where only a browser may fetch it."""
        if attachment.id.startswith(INLINE):
            return await self._download_inline(attachment, sink)
        try:
            return await self._stream(attachment, "Attachment.aspx", sink, {"AttachmentID": attachment.id})
        except (errors.LoginPageError, errors.AuthError, errors.RejectedError) as error:
            if not await self._by_other_address(attachment, sink, error):
                raise error if isinstance(error, errors.RejectedError) else told_why(error, inline=False) from error

    async def _download_inline(self, image: Attachment, sink: Sink) -> None:
        try:
            await self._http.download(encoded_once(image.locator), sink)
        except (errors.LoginPageError, errors.AuthError, errors.RejectedError) as error:
            raise told_why(error, inline=True) from error

    async def _by_other_address(self, attachment: Attachment, sink: Sink, refusal: errors.MigratorError) -> bool:
        """Whether another address gave the file: the one of its `Uri`, or the same one in lower case."""
        ways = [attachment.locator] if attachment.locator else []
        if isinstance(refusal, errors.GoneError):
            ways.append(f"attachment.aspx?attachmentid={attachment.id}")
        for path in [] if isinstance(refusal, errors.AuthError) else ways:
            try:
                await self._stream(attachment, path, sink)
            except (errors.LoginPageError, errors.RejectedError):
                continue
            return True
        return False

    async def _known_by(self, refusal: errors.MigratorError) -> str:
        """Which list answers where `Context` doesn't; the refusal itself where none does."""
        for name in ("Attachments", "Generals"):
            try:
                listed(await self._api.ask(name, {"take": "2"}), name)
            except errors.ItemFailedError:
                continue
            return f"its {name} answer, but it doesn't tell as whom ({refusal})"
        if isinstance(refusal, errors.ForbiddenError):
            raise errors.AuthError(f"{refusal}; requesters may not use the API") from refusal
        raise refusal
