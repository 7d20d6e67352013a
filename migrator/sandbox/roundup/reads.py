"""The requests that read from a sandbox Roundup.

Beware: Roundup takes a page and all that follows it, and counts those. So a page past the end tells a total that is
made of its number alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.roundup.access import Access
from migrator.sandbox.roundup.records import MULTILINKS, PROPERTIES, PROTECTED, Records, RoundupQuirks, label_of
from migrator.sandbox.server import Sandbox

BYTES = "application/octet-stream"
_NO_CONTENT = (
    "<html><head><title>An error has occurred</title></head>\n<body><h1>An error has occurred</h1></body></html>"
)


def answered(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of the API. A real one spreads it over lines, which takes Python much longer."""
    return web.json_response({"data": data}, status=status, headers=headers)


class Reads:
    """The handlers of requests that read."""

    def __init__(self, sandbox: Sandbox, quirks: RoundupQuirks, records: Records, access: Access) -> None:
        self._sandbox, self._state, self._quirks = sandbox, sandbox.state, quirks
        self._records, self._access = records, access

    async def root(self, request: web.Request) -> web.Response:
        """The versions of the API, and where the tracker is by the name that it has itself."""
        place = self._access.place(request)
        names = (("self", "rest"), ("data", "rest/data"), ("summary", "rest/summary"))
        links = [{"uri": f"{place}/{path}", "rel": rel} for rel, path in names]
        return answered({"default_version": 1, "supported_versions": [1], "links": links})

    async def classes(self, request: web.Request) -> web.Response:
        """All classes."""
        place = self._access.place(request)
        return answered({kind: {"link": f"{place}/rest/data/{kind}"} for kind in PROPERTIES})

    async def collection(self, request: web.Request) -> web.Response:
        """The items of a class that meet all conditions, or a page of them."""
        kind, place, query = self.kind(request), self._access.place(request), request.query
        fields, verbose = self._fields(kind, request), _number_in(request, "@verbose", 1)
        numbers = self._sorted(kind, self._found(kind, request), query.get("@sort", "id"))
        size, index = _number_in(request, "@page_size", 0), _number_in(request, "@page_index", 1)
        start = (index - 1) * size if size > 0 else 0
        total = max(start, len(numbers)) if size > 0 else len(numbers)
        shown = numbers[start:] if size <= 0 else numbers[start : start + size]
        items = []
        for number in shown[self._quirks.lists_fewer if size <= 0 else 0 :]:
            links = {"id": str(number), "link": f"{place}/rest/data/{kind}/{number}"}
            items.append(links | self._records.shown(kind, number, fields, verbose, place))
        data: dict[str, Any] = {"collection": items}
        if size > 0:
            data["@links"] = _links(request, f"{place}/rest/data/{kind}", index, has_more=len(numbers) > start + size)
        data["@total_size"] = total
        return answered(data, headers={"X-Count-Total": str(total)})

    def kind(self, request: web.Request) -> str:
        """The class in the path."""
        kind = request.match_info["kind"]
        if kind not in PROPERTIES:
            raise RefusedError(404, f"Class {kind} not found")
        return kind

    def item(self, request: web.Request) -> tuple[str, int]:
        """The item in the path, even if it is retired."""
        kind, number = self.kind(request), int(request.match_info["id"])
        if not self._records.exists(kind, number):
            raise RefusedError(404, f"no such {kind} {number}")
        if kind == "issue" and self._sandbox.faults.forbids(number):
            raise RefusedError(403, f"Permission to view {kind}{number} denied")
        return kind, number

    def _fields(self, kind: str, request: web.Request) -> list[str]:
        fields = [name for name in request.query.get("@fields", "").split(",") if name]
        for name in fields:
            if name not in (*PROPERTIES[kind], *PROTECTED):
                raise RefusedError(400, f"'Unknown property: {name}'")
        label = [label_of(kind)] if _number_in(request, "@verbose", 1) > 1 else []
        return sorted({*fields, *label} - {"id"})

    def _found(self, kind: str, request: web.Request) -> list[int]:
        names = [key for key in request.query if not key.startswith("@")]
        for name in names:
            if name.rstrip(":~") not in (*PROPERTIES[kind], *PROTECTED):
                raise RefusedError(400, f"Field {name.rstrip(':~')} is not valid for {kind} class.")
        found = self._candidates(kind, request)
        for name in dict.fromkeys(names):
            if name != "id":
                fits = _condition(name, request.query.getall(name))
                found = [number for number in found if fits(self._records.values(kind, number))]
        hidden = self._sandbox.faults.forbidden_entities if kind == "issue" else set()
        return [number for number in found if number not in hidden]

    def _candidates(self, kind: str, request: web.Request) -> list[int]:
        """All items of a class, or without looking at them all, those with the numbers or files that are asked for."""
        if "id" in request.query:
            asked = {int(text) for text in request.query.getall("id") if text.isdecimal()}
        elif kind == "issue" and "files" in request.query:
            files = [int(text) for text in request.query["files"].split(",") if text.isdecimal()]
            asked = {owner for file in files for owner in self._state.owners_of(file)}
        elif "files" in request.query:
            asked = {*self._records.with_files(kind)}
        else:
            return self._records.numbers(kind)
        kept = (number for number in asked if (kind, number) not in self._records.retired)
        return sorted(number for number in kept if self._records.exists(kind, number))

    def _sorted(self, kind: str, numbers: list[int], order: str) -> list[int]:
        for part in reversed(order.split(",")):
            name = part.lstrip("+-")
            if name not in (*PROPERTIES[kind], *PROTECTED):
                raise RefusedError(403, f'User does not have search permission on "{kind}.{name}"')
            if name == "id":
                numbers = numbers[::-1] if part.startswith("-") else numbers
            else:
                keys = {number: str(self._records.values(kind, number)[name] or "") for number in numbers}
                numbers = sorted(numbers, key=keys.__getitem__, reverse=part.startswith("-"))
        return numbers

    async def element(self, request: web.Request) -> web.Response:
        """One item, with what a change of it has to name."""
        kind, number = self.item(request)
        place, verbose = self._access.place(request), _number_in(request, "@verbose", 1)
        fields: Sequence[str] = self._fields(kind, request)
        if "@fields" not in request.query:
            protected = PROTECTED if request.query.get("@protected", "").lower() == "true" else ()
            fields = (*PROPERTIES[kind], *protected)
        attributes = self._records.shown(kind, number, fields, verbose, place)
        etag = self._records.etag(kind, number)
        data = {"id": str(number), "type": kind, "link": f"{place}/rest/data/{kind}/{number}"}
        return answered({**data, "attributes": attributes, "@etag": etag}, headers={"ETag": etag})

    async def binary_content(self, request: web.Request) -> web.StreamResponse:
        """The bytes of a file, if its type or any is asked for; without a word on types, JSON."""
        kind, number = self.item(request)
        file = self._state.attachment(number) if kind == "file" else None
        if file is None:
            return web.Response(status=400, text=_NO_CONTENT, content_type="text/html")
        accepted = [part.partition(";")[0].strip() for part in request.headers.get("Accept", "").split(",")]
        types = sorted(["*/*", f"{file.media_type.partition('/')[0]}/*", file.media_type, BYTES])
        media_type = next((BYTES if one == BYTES else file.media_type for one in accepted if one in types), "")
        if not media_type and {*accepted} - {"", "application/json"}:
            raise not_acceptable(request, types)
        if number in self._records.lost:
            return web.Response(status=400, text=_NO_CONTENT, content_type="text/html")
        if not media_type:
            content = b"".join([chunk async for chunk in self._state.chunks_of(file)])
            link = f"{self._access.place(request)}/rest/data/{kind}/{number}/binary_content"
            data = {"id": str(number), "type": "<class 'bytes'>", "link": link, "data": str(content)}
            return answered({**data, "@etag": self._records.etag(kind, number)})
        headers = {"Content-Type": media_type, "X-Content-Type-Options": "nosniff"}
        return await self._sandbox.send_file(request, file, headers)

    async def for_people(self, request: web.Request) -> web.StreamResponse:
        """The bytes of a file at the address that people use, without a login, and even after it was deleted."""
        number = int(request.match_info["id"])
        file = self._state.attachment(number)
        if file is None:
            return web.Response(status=404, text=f"no such file {number}", content_type="text/html")
        if number in self._records.lost:
            path = f"/var/lib/roundup/demo/db/files/file{number}"
            reason = f"Possibly an access right configuration problem.\ncontent file for {path} not found"
            return web.Response(text=f"ERROR reading file: file{number}\n{reason}", content_type="text/plain")
        headers = {"Content-Type": file.media_type or BYTES, "Accept-Ranges": "bytes"}
        return await self._sandbox.send_file(request, file, {**headers, "X-Content-Type-Options": "nosniff"})


def not_acceptable(request: web.Request, types: Sequence[str]) -> RefusedError:
    """The refusal of a request that accepts none of these types."""
    asked = f"Requested content type(s) '{request.headers['Accept']}' not available."
    return RefusedError(406, f"{asked}\nAcceptable mime types are: {', '.join(types)}")


def _condition(name: str, wanted: list[str]) -> Callable[[dict[str, Any]], bool]:
    """Whether an item meets a condition: links by number, texts in any letter case, with a colon exactly."""
    key = name.rstrip(":~")

    def fits(values: dict[str, Any]) -> bool:
        value = values[key]
        if key in MULTILINKS:
            return bool({*map(str, value)} & {part for text in wanted for part in text.split(",")})
        if name.endswith(":") or isinstance(value, int | float):
            return str(value) in wanted
        return all(text.lower() in (value or "").lower() for text in wanted)

    return fits


def _links(request: web.Request, address: str, index: int, *, has_more: bool) -> dict[str, Any]:
    rest = "&".join(f"{key}={value}" for key, value in request.query.items() if key != "@page_index")
    pages = {"next": index + 1 if has_more else 0, "prev": index - 1, "self": index}
    return {
        rel: [{"rel": rel, "uri": f"{address}?@page_index={page}&{rest}"}] for rel, page in pages.items() if page > 0
    }


def _number_in(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise RefusedError(400, f"When using {name}: {error}") from None
