"""What a Redmine is as source and as target: its options, the account, the walk of its issues, a download by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from typing_extensions import override

from migrator.errors import GoneError, LoginPageError, RejectedError, TrackerUnreachableError, UnexpectedBodyError
from migrator.model import Attachment, EntityRef, Unread
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import integer, text
from migrator.trackers.listing import Items, Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.redmine.api import PAGE_SIZE, Api
from migrator.trackers.redmine.containers import OTHER_STREAMS
from migrator.trackers.redmine.parse import ISSUE, KINDS, attachments_in
from migrator.trackers.strict import digits, list_in, number_in, numbered, object_in, objects_in, split
from migrator.wire import HttpClient

# Names: 255 characters, whatever they are. Connections: a small server answers one at a time, and kept-alive ones
# then wait for each other (measured: 90 files in 2 s by one, 13 s by eight).
CAPABILITIES = Capabilities(
    streams=("issues", *OTHER_STREAMS),
    kinds=KINDS,
    max_connections=4,
    max_name_bytes=4 * 255,
    name_encoding="utf-32-le",
    creates=True,
    deletes=True,
)

OtherStream = Literal["wiki", "news", "versions", "files", "custom_fields"]


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    project     identifier or number of one project: only this one and its subprojects are read
    also        what is read beside the issues: "wiki", "news", "versions", "files" (the files module), "custom_fields"
                (files in custom fields); all of them if left out
    file_fields     names or numbers of custom fields that hold files, for an account that is no administrator: it may
                not ask which do
    max_bytes   the largest file that the server takes (a setting of its own, 5 MiB at first); 0 where nobody knows
    create_project  identifier or number of the project in which issues are created, see [mapping] create_missing;
                    `project` if left out
    create_kind     number or name of their tracker in Redmine's sense ("Bug"); left out: the project's first
    """

    project: str = ""
    also: tuple[OtherStream, ...] = get_args(OtherStream)
    file_fields: tuple[str, ...] = ()
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


def issue_number(owner: EntityRef) -> str:
    """The number of an issue that a mapping names; `RejectedError` for any other kind, `GoneError` for no number."""
    if owner.kind not in {ISSUE, ""}:
        raise RejectedError(
            f"{owner}: files can be added to the issues of a Redmine only, so {owner.kind} is no target"
        )
    return digits(owner.id)


def strictly(answer: Mapping[str, Any], place: str) -> tuple[Items, tuple[Unread, ...]]:  # noqa: ARG001
    """The issues of an answer, every one of which must make sense."""
    return objects_in(answer, "issues"), ()


def leniently(answer: Mapping[str, Any], place: str) -> tuple[Items, tuple[Unread, ...]]:
    """Those that have a number, and a failure for each of the others."""
    return split(list_in(answer, "issues"), numbered, place, ISSUE)


Reader = Callable[[Mapping[str, Any], str], tuple[Items, tuple[Unread, ...]]]


class RedmineTracker(HttpTracker[Options]):
    """What its source and its target share."""

    def __init__(self, http: HttpClient, options: Options, capabilities: Capabilities) -> None:
        super().__init__(http, options, replace(capabilities, max_attachment_bytes=options.max_bytes or None))
        self.api = Api(http)

    @override
    async def check(self) -> str:
        try:
            return f"logged in to Redmine as {text((await self.api.account()).get('login'))}"
        except LoginPageError:
            raise
        except (GoneError, UnexpectedBodyError):
            raise TrackerUnreachableError("no Redmine answers at this address; is `url` right?") from None

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        answer = await self._http.get_json(f"issues/{issue_number(owner)}.json", {"include": "attachments"})
        return attachments_in(object_in(answer, "issue"), owner)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """By number alone: with a name in the path, a file renamed meanwhile would be a 404."""
        await self._stream(attachment, f"attachments/download/{digits(attachment.id)}", sink)

    def issues(self, project: str, read: Reader = strictly) -> Listing:
        """All issues, or those of a project, each with its files."""
        query = {"status_id": "*", "sort": "id", "include": "attachments"}
        # Without the second, a setting (`display_subprojects_issues`) would decide whether those below come, too.
        query |= {"project_id": project, "subproject_id": "*"} if project else {}

        async def ask(request: PageRequest) -> PageItems:
            if not request.skip:
                await self.api.account()
            window = {"limit": str(request.take), "offset": str(request.skip)}
            answer = object_in(await self._http.get_json("issues.json", query | window))
            found, unread = read(answer, f"issues.json, from {request.skip}")
            if len(found) < 2:  # the end: of what this account may see
                await self.api.account()
            return PageItems(found, total=integer(answer.get("total_count")), unread=unread)

        return Listing(ask, number_in, PAGE_SIZE, (PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED))
