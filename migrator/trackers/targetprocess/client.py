"""What a Targetprocess source and target share: options, capabilities, login, downloads.

The API exists if any of its lists answers; anything else that is missing is an oddity, not a reason to stop.

Beware: files are fetched by id below the configured URL, because the server's links contain its own idea of its host;
the path of a link is only tried after that. Tokens may not fetch files (vendor page "Work with Attachments").
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
from migrator.trackers.targetprocess.parse import INLINE, listed, person, with_remedy
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import HttpClient

KINDS = (
    *("UserStory", "Task", "Bug", "Feature", "Epic", "PortfolioEpic", "Request", "Impediment", "Project", "Program"),
    *("Release", "Iteration", "TeamIteration", "Team", "Build", "TestCase", "TestPlan", "TestPlanRun", "General"),
)
"""The entity types of every account that carry attachments (the resources with an `Attachments` collection in
`/api/v1/Index/meta`), and General for entities whose type the server doesn't state.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    format          "xml" requests XML; either format is understood
    page_size       source: items on a page of a listing, 2 to 1000
    cross_check     source: of which entities the own list of files is read: those with files ("counts"), "all", or only
                    those that state more files than the list of all attachments has of them ("off")
    own_kinds       source: entity types that this account has added itself, so that `kinds` may name them
    create_project  target: number or name of the project in which entities are created, see [mapping] create_missing
    create_kind     target: what they become; left out: the original's kind if it needs only a project, else "UserStory"
    inline_images   source: "list" treats old images inside texts as files: they can be fetched only with a browser's
                    cookie in [source.download_auth], without which each is a failure; "skip" leaves them out
    max_bytes       target: the largest file that the server accepts (the API doesn't state it); 0 if unknown
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
    """The capabilities with these options. Images inside texts have no size."""
    return replace(
        CAPABILITIES,
        kinds=tuple(dict.fromkeys((*KINDS, *options.own_kinds))),
        left_out_ids=() if options.inline_images == "list" else (INLINE,),
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
        """A server that doesn't show its `Context` is recognised by its lists."""
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
            return (f"it shows neither the account nor its version ({error}); what this account may see is unknown",)
        return ()

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return tuple((await self._files.of(owner)).values())

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`NotExposedError` for an image inside a text that only a browser may fetch."""
        if attachment.id.startswith(INLINE):
            return await self._download_inline(attachment, sink)
        try:
            return await self._stream(attachment, "Attachment.aspx", sink, {"AttachmentID": attachment.id})
        except (errors.LoginPageError, errors.AuthError, errors.RejectedError) as error:
            if not await self._by_other_address(attachment, sink, error):
                raise error if isinstance(error, errors.RejectedError) else with_remedy(error, inline=False) from error

    async def _download_inline(self, image: Attachment, sink: Sink) -> None:
        try:
            await self._http.download(encoded_once(image.locator), sink)
        except (errors.LoginPageError, errors.AuthError, errors.RejectedError) as error:
            raise with_remedy(error, inline=True) from error

    async def _by_other_address(self, attachment: Attachment, sink: Sink, refusal: errors.MigratorError) -> bool:
        """Whether another address returned the file: that of its `Uri`, or the same one in lower case."""
        paths = [attachment.locator] if attachment.locator else []
        if isinstance(refusal, errors.GoneError):
            paths.append(f"attachment.aspx?attachmentid={attachment.id}")
        for path in [] if isinstance(refusal, errors.AuthError) else paths:
            try:
                await self._stream(attachment, path, sink)
            except (errors.LoginPageError, errors.RejectedError):
                continue
            return True
        return False

    async def _known_by(self, refusal: errors.MigratorError) -> str:
        """Which list answers although `Context` doesn't; raises the refusal if none does."""
        for name in ("Attachments", "Generals"):
            try:
                listed(await self._api.ask(name, {"take": "2"}), name)
            except errors.ItemFailedError:
                continue
            return f"its {name} answer, but it doesn't say who is logged in ({refusal})"
        if isinstance(refusal, errors.ForbiddenError):
            raise errors.AuthError(f"{refusal}; requesters may not use the API") from refusal
        raise refusal
