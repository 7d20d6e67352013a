"""The sandboxes of Request Tracker and Trac beside real ones: the same requests are answered alike.

Numbers are compared by the order in which they first appear, dates not at all. Run it with `.ci/with-tracker rt` and
`.ci/with-tracker trac`.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest

from migrator.sandbox.rt import RtSandbox
from migrator.sandbox.server import Sandbox
from migrator.sandbox.trac import TracSandbox
from migrator.sandbox.world.model import World
from tests.support import real_rt, real_trac

KEEPS_BOTH = False
TEXTS = (
    ("a/b", b""),
    ("text/plain", b"a\0b"),
    ("text/plain", b"\0a\0b"),
    ("text/plain", "Grüße".encode("utf-16")),
    ("text/html", bytes(range(256))),
    ("text/plain", b"\xed\xa0\x80"),
    ("text/html; charset=utf-8", "\uffff \U0001fffe".encode() + b"\xfc"),
    ("text/plain; charset=iso-8859-1", "ü".encode()),
)
NAMES = (
    "日.bin",
    "dir/x y.bin",
    '"quoted"',
    "=?utf-8?q?a?=.txt",
    "x\ny.txt",
    "x" * 260,
    "Ü".encode().decode("latin-1"),
)
TWICE = ("a", "a.tar.gz", ".hidden", "a.", "..", "b.c/d", "", "a\nb")
OWN = {"_hyperlinks", "Headers", "MessageId", "Version", "Description", "ETag", "_ts", "reporter"}
"""What each server has its own of."""

Exchange = tuple[str, int, object]
Ask = Callable[..., Any]


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Alike:
    """Makes answers of two servers comparable."""

    def __init__(self, url: str) -> None:
        self._url, self._known = url, defaultdict[str, list[str]](list)

    def of(self, value: Any, key: str = "", kind: str = "") -> Any:
        if isinstance(value, dict):
            kind = str(value.get("type", kind))
            return {name: self.of(value[name], name, kind) for name in sorted(value) if name not in OWN}
        if isinstance(value, list):
            return [self.of(item, key if isinstance(item, int) else "") for item in value]
        if key == "id" and not kind:
            return type(value).__name__
        if key == "id" or (key == "result" and type(value) is int):
            return f"{type(value).__name__} {self._number(kind or 'ticket', str(value))}"
        if key == "TransactionId":
            return self._number("transaction", value)
        return self._text(unquote(value)) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?", "DATE", text.replace(self._url, ""))
        text = re.sub(r" at /\S+ line \d+\.\n\Z|(?<=JSON parse error).*\Z", "", text, flags=re.DOTALL)
        text = re.sub(r"(?<=/)([a-z]+)/(\d+)", lambda match: f"{match[1]}/{self._number(match[1], match[2])}", text)
        return re.sub(r"(?<=icket[ :])\d+", lambda match: self._number("ticket", match[0]), text)

    def _number(self, kind: str, text: str) -> str:
        known = self._known[kind]
        if text not in known:
            known.append(text)
        return f"{kind} #{known.index(text)}"


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """What differs, and where."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        for number, pair in enumerate(itertools.zip_longest(one, other)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {one!r}, and really {other!r}"


class Server:
    """A server that is asked, and remembers how it answered."""

    def __init__(self, url: str, authorization: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session
        self._headers = {"Authorization": authorization, "Content-Type": "application/json"}
        self._alike = Alike(url)
        self.exchanges: list[Exchange] = []
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, sent: Any = None, shown: str = "", **query: str) -> Any:
        body = None if sent is None else io.BytesIO(sent if isinstance(sent, bytes) else json.dumps(sent).encode())
        url = f"{self._url}/{path}"
        async with self._session.request(method, url, data=body, params=query, headers=self._headers) as answer:
            text = await answer.text()
        told = json.loads(text) if text.startswith(("{", "[")) else text
        self.asked.append(f"{method} {path} {query} {str(sent)[:400]}")
        question = re.sub(r"\d+", "#", f"{method} {shown or path}")
        self.exchanges.append((question, answer.status, self._alike.of(told)))
        return told


def rt_comments() -> Iterator[Any]:
    """What comments may bring, taken or not."""
    file = {"FileName": "a.bin", "FileType": "application/octet-stream", "FileContent": base64_of(b"\0\1x")}
    latin = {**file, "FileName": "l.txt", "FileType": "text/plain", "FileContent": base64_of("Grüße".encode("latin-1"))}
    plain = {"Content": "c", "ContentType": "text/plain"}
    yield plain | {"Attachments": [file, latin]}
    yield from (plain | {"Content": ""}, {"Content": "c"}, plain | {"ContentType": "text/html"}, b"{broken")
    yield from (plain | {"Attachments": []}, plain | {"Attachments": {}})
    for key in file:
        yield plain | {"Attachments": [{name: value for name, value in file.items() if name != key}]}
        yield plain | {"Attachments": [file | {key: ""}]}
    for name in NAMES:
        yield plain | {"Attachments": [file | {"FileName": name}]}
    for kind, content in TEXTS:
        yield plain | {"Attachments": [file | {"FileType": kind, "FileContent": base64_of(content) + "\n"}]}
    yield plain | {"Attachments": [file | {"FileContent": "!!!"}]}


async def ask_rt(ask: Ask, mark: str) -> None:
    """Make tickets and comments, and read them in all ways."""
    drafts: list[Any] = [{"Queue": "General", "Subject": mark, "Content": "a message", "ContentType": "text/plain"}]
    drafts[0]["RefersTo"] = f"migrator:{mark}"
    drafts += [{"Queue": "1", "Subject": f"{mark} two"}, {"Queue": "Nope"}, {"Subject": "x"}, [], b"{broken"]
    first, *_ = [await ask("POST", "ticket", draft) for draft in drafts]
    number = first["id"]
    for comment in rt_comments():
        await ask("POST", f"ticket/{number}/comment", comment)
    await ask("POST", "ticket/9999999/comment", {"Content": "c", "ContentType": "text/plain"})
    fields = "Filename,ContentType,ContentLength,Created,Creator,TransactionId,Nope"
    listed = await ask("GET", f"ticket/{number}/attachments", fields=fields, per_page="100", orderby="id")
    for item in listed["items"]:
        await ask("GET", f"attachment/{item['id']}", shown="attachment")
    named = json.dumps([{"field": "Filename", "operator": "!=", "value": ""}])
    for query in ({"query": named}, {"query": "nonsense"}, {"per_page": "3", "page": "2"}, {"fields": "Parent"}):
        await ask("GET", f"ticket/{number}/attachments", **query)
    await ask("GET", f"ticket/{number}")
    about = json.dumps([{"field": "Type", "operator": "LIKE", "value": "omm"}])
    await ask("GET", f"ticket/{number}/history", fields="Type,OldValue,NewValue,Data", query=about, per_page="100")
    transaction = listed["items"][-1]["TransactionId"]
    for path in (f"transaction/{transaction}", f"transaction/{transaction}/attachments"):
        await ask("GET", path, shown="transaction")
    absent = ("ticket/9999999", "attachment/9999999", "transaction/9999999", "queue/Nope", "nosuch", "ticket/x")
    below = ("ticket/9999999/attachments", "ticket/9999999/history", "transaction/9999999/attachments", "queue/1")
    for path in (*absent, *below, "customfields"):
        await ask("GET", path)
    await ask("PUT", "rt", {})
    for condition in ("AND id > 0", f"AND id = {number}", "AND Status = '__Active__'", "AND Subject NOT LIKE 'two'"):
        query = f"Subject LIKE '{mark}' {condition}"
        await ask("GET", "tickets", shown=condition, query=query, fields="Subject,Queue,Status,Nope", per_page="1")
    searches = (f"RefersTo = 'migrator:{mark}'", "Queue = 'Nope'", "Nope = 1", "id >", "(id > 0", "Queue = General", "")
    for query in searches:
        await ask("GET", "tickets", shown=query.replace(mark, ""), query=query)


async def ask_trac(ask: Ask, mark: str) -> None:
    """Make a ticket, and read it in all ways."""

    async def call(method: str, *params: Any) -> Any:
        return (await ask("POST", "login/rpc", {"id": 1, "method": method, "params": params}, method))["result"]

    number = await call("ticket.create", mark, f"text of {mark}", {})
    for params in (["", "text"], [" ", "text", {"type": "nosuch"}], []):
        await call("ticket.create", *params)
    await _ask_for_files(call, number)
    for one in (number, str(number), 9_999_999, "x"):
        await call("ticket.get", one)
        await call("ticket.changeLog", one)
    ours = (f"summary={mark}", f"description~={mark}", f"id={number}", f"id={number}-{number}&order=id&desc=1&max=0")
    for query in (*ours, f"summary={mark}&max=1&page=9"):
        await call("ticket.query", query)
    for query in ("", "nonsense", "max=x", "id=x", "id=5-", "max=1&page=9999"):
        await call("ticket.query", query)
    calls = (("ticket.get", [number]), ("nope", []), ("ticket.getAttachment", [number, "a."]))
    await call("system.multicall", *({"method": m, "params": p, "id": n} for n, (m, p) in enumerate(calls)))
    await call("ticket.nope")
    await call("system.getAPIVersion")
    await call("ticket.update", number, "done", {"status": "closed", "resolution": "fixed"})
    await call("ticket.query", f"summary={mark}&status!=closed")
    for body in (b"{broken", b"[]", b"{}"):
        await ask("POST", "login/rpc", body, repr(body))


async def _ask_for_files(call: Callable[..., Any], number: int) -> None:
    for name in (name for name in TWICE for _ in range(2)):
        data: Any = {"__jsonclass__": ["binary", base64_of(name.encode() * 40)]}
        await call("ticket.putAttachment", number, name, f"on {name}", data, KEEPS_BOTH)
    for data in (*({"__jsonclass__": ["binary", text]} for text in ("eHg=", "!!")), "x", {"__jsonclass__": ["x", ""]}):
        await call("ticket.putAttachment", number, "a", "replaced", data)
        await call("ticket.putAttachment", 9_999_999, "a", "", data)
    await call("ticket.putAttachment", number, "a")
    for one in (number, str(number), 9_999_999, "x"):
        await call("ticket.listAttachments", one)
    for name in ("a", "a.2", "a.tar.2.gz", "", "nope"):
        await call("ticket.getAttachment", number, name)
        await call("ticket.deleteAttachment", number, name or "nope")
    await call("ticket.deleteAttachment", 9_999_999, "a")


def basic(user: str, password: str) -> str:
    return f"Basic {base64_of(f'{user}:{password}'.encode())}"


async def compared(sandbox: Sandbox, url: str, here: str, there: str, questions: Callable[[Ask, str], Any]) -> int:
    """How many requests were answered alike; fails at the first that was not."""
    mark = f"mark{secrets.token_hex(4)}x"
    async with aiohttp.ClientSession() as session, sandbox:
        servers = Server(sandbox.url, here, session), Server(url, there, session)
        for server in servers:
            await questions(server.ask, mark)
    ours, real = servers
    for asked, one, other in zip(ours.asked, ours.exchanges, real.exchanges, strict=True):
        assert not [*differences([*one], [*other])], asked
    return len(ours.exchanges)


@pytest.mark.rt
@pytest.mark.skipif(not real_rt.URL, reason="MIGRATOR_RT_URL and MIGRATOR_RT_API_KEY are not set")
async def test_a_real_request_tracker_answers_alike() -> None:
    here, there = f"token {RtSandbox.token}", f"token {real_rt.TOKEN}"
    assert await compared(RtSandbox(World(1, ())), real_rt.URL, here, there, _below("REST/2.0", ask_rt)) > 100


@pytest.mark.trac
@pytest.mark.skipif(not real_trac.URL, reason="MIGRATOR_TRAC_URL, _USER and _PASSWORD are not set")
async def test_a_real_trac_answers_alike() -> None:
    here = basic(TracSandbox.user, TracSandbox.password)
    there = basic(real_trac.USER, real_trac.PASSWORD)
    assert await compared(TracSandbox(World(1, ())), real_trac.URL, here, there, ask_trac) > 60


def _below(folder: str, questions: Callable[[Ask, str], Any]) -> Callable[[Ask, str], Any]:
    """The same questions, at addresses below a folder."""

    async def asked(ask: Ask, mark: str) -> None:
        async def below(method: str, path: str, *sent: Any, **more: Any) -> Any:
            return await ask(method, f"{folder}/{path}", *sent, **more)

        await questions(below, mark)

    return asked
