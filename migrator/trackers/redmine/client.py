"""What a Redmine source and target share: options, capabilities, login, the list of issues, downloads."""

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

# Names may have 255 characters of any kind. A small server answers one connection at a time, and kept-alive connections
# then wait for each other (measured: 90 files take 2 s by one connection, 13 s by eight).
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

    project         identifier or number of one project: only this one and its subprojects are read
    also            source: what is read besides the issues: "wiki", "news", "versions", "files" (the files module),
                    "custom_fields" (files in custom fields); left out: all of them
    file_fields     source: names or numbers of custom fields that hold files, for an account that can't list these
                    fields because it is not an administrator's
    max_bytes       target: the largest file that the server accepts (one of its settings, 5 MiB by default); 0 if
                    unknown
    create_project  target: identifier or number of the project in which issues are created, see [mapping]
                    create_missing; left out: `project`
    create_kind     target: number or name of their tracker in Redmine's sense ("Bug"); left out: the project's first
    """

    project: str = ""
    also: tuple[OtherStream, ...] = get_args(OtherStream)
    file_fields: tuple[str, ...] = ()
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


def issue_number(owner: EntityRef) -> str:
    """The number of an issue; `RejectedError` for any other kind, `GoneError` for an id that is not a number."""
    if owner.kind not in {ISSUE, ""}:
        raise RejectedError(f"{owner}: in Redmine, files can be added to issues only")
    return digits(owner.id)


def strictly(answer: Mapping[str, Any], place: str) -> tuple[Items, tuple[Unread, ...]]:  # noqa: ARG001
    """The issues of an answer; `UnexpectedBodyError` if one of them can't be read."""
    return objects_in(answer, "issues"), ()


def leniently(answer: Mapping[str, Any], place: str) -> tuple[Items, tuple[Unread, ...]]:
    """The issues of an answer that have a number, and a failure for each of the others."""
    return split(list_in(answer, "issues"), numbered, place, ISSUE)


Reader = Callable[[Mapping[str, Any], str], tuple[Items, tuple[Unread, ...]]]


class RedmineTracker(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options, capabilities: Capabilities) -> None:
        super().__init__(http, options, replace(capabilities, max_attachment_bytes=options.max_bytes or None))
        self.api = Api(http)

    @override
    async def check(self) -> str:
        try:
            return f"logged in to Redmine as {text((await self.api.account()).get('login'))}"
        except LoginPageError:  # an UnexpectedBodyError too, but it says what is wrong
            raise
        except (GoneError, UnexpectedBodyError):
            raise TrackerUnreachableError("no Redmine answers at this address; is `url` right?") from None

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        answer = await self._http.get_json(f"issues/{issue_number(owner)}.json", {"include": "attachments"})
        return attachments_in(object_in(answer, "issue"), owner)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """By number alone: with a name in the path, a file that was renamed meanwhile would be a 404."""
        await self._stream(attachment, f"attachments/download/{digits(attachment.id)}", sink)

    def issues(self, project: str, read: Reader = strictly) -> Listing:
        """All issues, or those of a project, each with its files."""
        query = {"status_id": "*", "sort": "id", "include": "attachments"}
        # `subproject_id` overrides the setting `display_subprojects_issues`, which may leave out subprojects.
        query |= {"project_id": project, "subproject_id": "*"} if project else {}

        async def fetch(request: PageRequest) -> PageItems:
            if not request.skip:
                await self.api.account()
            window = {"limit": str(request.take), "offset": str(request.skip)}
            answer = object_in(await self._http.get_json("issues.json", query | window))
            issues, unread = read(answer, f"issues.json, from {request.skip}")
            if len(issues) < 2:  # the end, if these are the issues that the account may see
                await self.api.account()
            return PageItems(issues, total=integer(answer.get("total_count")), unread=unread)

        return Listing(fetch, number_in, PAGE_SIZE, (PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED))
