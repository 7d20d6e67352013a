"""By which function of which adapter a recorded answer is read."""

from __future__ import annotations

import importlib.util
import re
import sys
import xmlrpc.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from migrator.errors import UnexpectedBodyError
from migrator.model import Attachment, Entity, EntityRef
from migrator.trackers import adapter
from migrator.trackers import kiwi as kiwi_adapter
from migrator.trackers.kiwi import api as kiwi_api
from migrator.trackers.kiwi import client as kiwi
from migrator.trackers.lenient import integer
from migrator.trackers.redmine import parse as redmine
from migrator.trackers.roundup import parse as roundup
from migrator.trackers.rt import api as rt
from migrator.trackers.strict import list_in, number_in, object_in, objects_in
from migrator.trackers.trac import api as trac_api
from migrator.trackers.trac import client as trac
from migrator.trackers.trac.source import names_files
from migrator.wire import Answer, HttpClient
from tests.support.answered import ROOT, Recorded


@dataclass(frozen=True)
class Given:
    """An answer, and what is needed to read it."""

    recorded: Recorded
    http: HttpClient
    answer: Answer

    @property
    def json(self) -> Any:
        return self.answer.json()


@dataclass(frozen=True)
class Reading:
    """How an answer is read. `which` is a pattern of method and path, or of the remote procedure that was called.

    A `write` must not be repeated blindly. A `file` is downloaded: by the adapter, or by its address alone.
    """

    which: str
    read: Callable[[Given], object] = lambda given: given.answer.status
    write: bool = False
    file: Literal["", "adapter", "address"] = ""


OWNER = EntityRef("Item", "1")
"""Whoever has the files of a list."""


def unread(given: Given) -> object:
    """What no adapter reads, or only whether it went well."""
    if not given.answer.body:
        return "no content"
    return "JSON" if given.json is not None else "null"


def redmine_issues(given: Given) -> object:
    issues = objects_in(given.json, "issues")
    read = [(redmine.entity_in(issue, redmine.ISSUE, given.http.base), redmine_files(issue)) for issue in issues]
    return {"total": integer(given.json["total_count"]), "issues": read}


def redmine_files(issue: Mapping[str, Any]) -> object:
    """None where the list has no files, and the issue itself is read."""
    listed = redmine.listed_files(issue, redmine.ref_in(issue))
    return None if listed is None else listed[0]


def redmine_issue(given: Given) -> object:
    issue = object_in(given.json, "issue")
    entity = redmine.entity_in(issue, redmine.ISSUE, given.http.base)
    return {"issue": entity, "files": redmine_files(issue), "fields": [list(one) for one in redmine.values_in(issue)]}


def redmine_token(given: Given) -> object:
    upload = object_in(given.json, "upload")
    return {"id": number_in(upload), "token": upload["token"]}


def rt_tickets(given: Given) -> object:
    items = [rt.entity_in(item, given.http.base) for item in objects_in(given.json, "items")]
    return {"total": integer(given.json.get("total")), "tickets": items}


def rt_files(given: Given) -> object:
    items = [rt.attachment_in(item, OWNER) for item in objects_in(given.json, "items")]
    return {"total": integer(given.json.get("total")), "files": [item for item in items if item.name]}


def rt_cuts(given: Given) -> object:
    """What a history says of files that were cut: their sizes before, and the largest that RT keeps."""
    cuts = [
        item for item in objects_in(given.json, "items") if item.get("Type") in {"AttachmentTruncate", "AttachmentDrop"}
    ]
    return [{"size": integer(cut.get("OldValue")), "kept": rt.kept_bytes(cut)} for cut in cuts]


def kiwi_result(read: Callable[[Any, HttpClient], object]) -> Callable[[Given], object]:
    return lambda given: read(kiwi_api.result_in(given.json, given.recorded.call or "call"), given.http)


async def kiwi_login(given: Given) -> object:
    """Whether the answer opens a session."""

    async def post(_path: str, _form: object) -> tuple[int, bytes]:
        return given.recorded.status, given.recorded.body

    signer = kiwi_adapter.signer({"username": "somebody", "password": "secret"})
    await signer.login(post)
    return {"logged in": signer.ready}


def kiwi_files(given: Given) -> object:
    """The files of one case, or of many that were asked for together: one that fails is asked for by itself."""
    if isinstance(given.json, list):
        return [
            None if answer.get("result") is None else files_in(answer["result"], given.http) for answer in given.json
        ]
    return files_in(kiwi_api.result_in(given.json, given.recorded.call or "call"), given.http)


def files_in(result: Any, http: HttpClient) -> list[Attachment]:
    return [kiwi.attachment_in(record, OWNER, http) for record in objects_in(result)]


def trac_result(given: Given) -> Any:
    """The result of a call, or its error; recorded as XML, it is turned into what the plugin writes as JSON."""
    if not given.answer.body.startswith(b"<?xml"):
        return trac_api.result_in(given.json, given.recorded.call or "call")
    try:
        values, _ = xmlrpc.client.loads(given.answer.body)
        answer: dict[str, object] = {"result": as_json(values[0]), "error": None}
    except xmlrpc.client.Fault as fault:
        answer = {"result": None, "error": {"code": fault.faultCode, "message": fault.faultString}}
    return trac_api.result_in(answer, given.recorded.call or "call")


def as_json(value: object) -> object:
    if isinstance(value, xmlrpc.client.DateTime):
        stamp = str(value)
        return {"__jsonclass__": ["datetime", f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:]}"]}
    if isinstance(value, xmlrpc.client.Binary):
        return {"__jsonclass__": ["binary", f"{len(value.data)} bytes"]}
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    return [as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def trac_ticket(given: Given) -> Entity:
    result = list_in(trac_result(given))
    return trac.ticket_in(result, result[0], given.http.base)


def roundup_list(given: Given) -> object:
    """Items with their files, where the answer says which they are."""
    data = object_in(given.json, "data")
    items = objects_in(data, "collection")
    read = [[roundup.entity_in(item, "issue", given.http.base), roundup_links(item)] for item in items]
    return {"total": integer(data.get("@total_size")), "items": read}


def roundup_links(item: Mapping[str, Any]) -> object:
    """None where they are plain numbers, or none: the adapter asks for objects with names."""
    try:
        return roundup.linked_in(item)
    except UnexpectedBodyError:
        return None


def roundup_record(given: Given) -> dict[str, Any]:
    data = object_in(given.json, "data")
    return {"id": data.get("id"), **object_in(data, "attributes")}


def roundup_item(given: Given) -> object:
    item = roundup_record(given)
    return [roundup.created_in(given.json), roundup.entity_in(item, "issue", given.http.base), roundup_links(item)]


def roundup_root(given: Given) -> object:
    return sorted(object_in(given.json, "data"))


@cache
def example() -> Any:
    """The module of the adapter for django-helpdesk, which is not installed here."""
    path = ROOT / "tests" / "example_adapter" / "migrator_helpdesk.py"
    spec = importlib.util.spec_from_file_location("recorded_helpdesk", path)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def helpdesk_tickets(given: Given) -> object:
    items = objects_in(given.json, "results")
    read = [example().ticket_in(item, given.http.base) for item in items]
    return {"total": integer(given.json.get("count")), "tickets": read}


def helpdesk_files(given: Given) -> object:
    items = objects_in(given.json, "results")
    return {"total": integer(given.json.get("count")), "files": [example().file_in(item, OWNER) for item in items]}


READINGS = {
    "redmine": (
        Reading("GET users/current", lambda given: object_in(given.json, "user")["login"]),
        Reading("GET issues.json", redmine_issues),
        Reading("GET issues/", redmine_issue),
        Reading(
            "GET projects.json",
            lambda given: [
                redmine.entity_in(one, redmine.PROJECT, given.http.base) for one in objects_in(given.json, "projects")
            ],
        ),
        Reading(
            "GET attachments/.*json", lambda given: redmine.attachment_in(object_in(given.json, "attachment"), OWNER)
        ),
        Reading("POST uploads", redmine_token),
        Reading("POST issues", redmine_issue, write=True),
        Reading("(GET|HEAD) (attachments/|.A2URL)", file="adapter"),
    ),
    "rt": (
        Reading("GET REST/2.0/rt$", lambda given: object_in(given.json)["Version"]),
        Reading("GET REST/2.0/tickets", rt_tickets),
        Reading("(GET|POST) .*/attachments", rt_files),
        Reading("GET .*/history", rt_cuts),
        Reading("(GET|HEAD) REST/2.0/attachment/", file="adapter"),
        Reading("GET Ticket/Attachment", file="address"),
        Reading("POST REST/2.0/ticket$", lambda given: number_in(object_in(given.json)), write=True),
        Reading("POST .*/(comment|correspond)", lambda given: given.answer.headers.get("Location"), write=True),
    ),
    "roundup": (
        Reading("GET rest/data/(issue|file|msg|status|priority)/?(\\?.*)?$", roundup_list),
        Reading("GET rest/data/?$", roundup_root),
        Reading("(GET|HEAD) .*/(binary_)?content", file="adapter"),
        Reading("GET file", file="address"),
        Reading("GET rest/data/file/", lambda given: roundup.attachment_in(roundup_record(given), OWNER, "issue")),
        Reading("GET rest/data/issue/", roundup_item),
        Reading("POST rest/data", lambda given: roundup.created_in(given.json), write=True),
    ),
    "kiwi": (
        Reading("KiwiTCMS.version", kiwi_result(lambda result, _: result)),
        Reading("TestCase.list_attachments$", kiwi_files),
        Reading("Auth.login", kiwi_login),
        Reading("\\w+[.]filter$", kiwi_result(lambda result, _: [number_in(one) for one in list_in(result)])),
        Reading("\\w+[.]create$", kiwi_result(lambda result, _: number_in(object_in(result))), write=True),
        Reading("(\\w+[.]add_attachment|POST json-rpc/?)$", kiwi_result(lambda result, _: result), write=True),
        Reading("\\w+[.]\\w+$", kiwi_result(lambda result, _: result)),
        Reading("(GET|HEAD) uploads/", file="adapter"),
    ),
    "trac": (
        Reading("ticket.getAttachment$", file="adapter"),
        Reading("ticket.get( .XML.)?$", trac_ticket),
        Reading("ticket.listAttachments", lambda given: trac.attachments_in(trac_result(given), OWNER)),
        Reading("ticket.(put|create|update|delete)", trac_result, write=True),
        Reading("ticket.changeLog", lambda given: {"names files": names_files(trac_result(given))}),
        Reading("\\w+[.]\\w+|POST login/rpc", trac_result),
        Reading("(GET|HEAD) (raw|zip)?-?attachment/", file="address"),
    ),
    "helpdesk": (
        Reading("GET api/tickets/([?].*)?$", helpdesk_tickets),
        Reading("GET api/tickets/", lambda given: example().ticket_in(object_in(given.json), given.http.base)),
        Reading("GET api/followups-attachments/([?].*)?$", helpdesk_files),
        Reading("(GET|PATCH|POST) api/followups-attachments", lambda given: example().file_in(given.json, OWNER)),
        Reading("POST api/(tickets|followups)", lambda given: number_in(given.json), write=True),
        Reading("(GET|HEAD) media/", file="address"),
    ),
}


def reading_of(recorded: Recorded, tracker: str) -> Reading:
    """The first that fits; an answer that none fits is not read by the adapter."""
    name = recorded.call or f"{recorded.method} {recorded.path}"
    fitting = (one for one in READINGS[tracker] if re.match(one.which, name))
    return next(fitting, Reading("", unread, write=recorded.method not in {"GET", "HEAD"}))


def parts_of(tracker: str) -> Any:
    """The adapter."""
    return example().ADAPTER if tracker == "helpdesk" else adapter(tracker)
