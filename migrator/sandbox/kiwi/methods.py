"""The methods of the API of a sandbox Kiwi TCMS, as far as clients that move files use them."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.kiwi.files import name_received, require_harmless
from migrator.sandbox.kiwi.records import CASE, PLAN, KiwiQuirks, Records
from migrator.sandbox.uploads import ReceivedFile, StoredContent

Method = Callable[..., Any]
MAX_FILE_BYTES = 5_242_880
MAX_TITLE_CHARACTERS = 255
_REQUIRED = {
    CASE: ("summary", "case_status", "category", "priority"),
    PLAN: ("name", "product", "product_version", "type"),
}


class Methods:
    """The methods by name. They raise `RefusedError` for what Kiwi answers with status 200 and an error inside."""

    def __init__(self, records: Records, faults: Callable[[], Faults], quirks: KiwiQuirks) -> None:
        self._records, self._faults, self._quirks = records, faults, quirks

    def named(self, name: str, address: str) -> Method | None:
        """A method; None if there is none of this name."""
        kind, _, verb = name.partition(".")
        if kind in _REQUIRED and verb in {"filter", "create", "list_attachments", "add_attachment"}:
            return self._of_kind(kind, verb, address)
        return self._others().get(name)

    def _others(self) -> dict[str, Method]:
        return {
            "KiwiTCMS.version": lambda: "12.4",
            "Testing.breakdown": self._breakdown,
            "Attachment.remove_attachment": self._remove,
            "Classification.create": lambda values: {"id": 1, "name": values["name"]},
            "Product.create": self._create_product,
            "Product.filter": lambda _=None: self._products(),
            "Version.filter": self._versions,
            "Category.filter": lambda query=None: [
                {"id": _product_in(query), "name": "--default--", "product": _product_in(query), "description": ""}
            ],
            "Priority.filter": lambda _=None: [{"id": n, "value": f"P{n}", "is_active": True} for n in range(1, 6)],
            "TestCaseStatus.filter": lambda _=None: [
                {"id": n, "name": name, "description": "", "is_confirmed": n == 2}
                for n, name in enumerate(("PROPOSED", "CONFIRMED", "DISABLED", "NEED_UPDATE"), 1)
            ],
        }

    def _of_kind(self, kind: str, verb: str, address: str) -> Method:
        """A method of test cases or plans, whose first parameter has a name of its own for each of them."""

        def find(query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
            return [self._records.shown(entity) for entity in reversed(self._records.found(kind, query or {}))]

        if verb == "filter":
            return find
        if verb == "create":
            return lambda values: self._create(kind, values)
        return self._of_case(verb, address) if kind == CASE else self._of_plan(verb, address)

    def _of_case(self, verb: str, address: str) -> Method:
        def list_attachments(case_id: int) -> list[dict[str, Any]]:
            return self._files(CASE, case_id, address)

        def add_attachment(case_id: int, filename: str, b64content: str) -> None:
            self._attach(CASE, case_id, filename, b64content)

        return list_attachments if verb == "list_attachments" else add_attachment

    def _of_plan(self, verb: str, address: str) -> Method:
        def list_attachments(plan_id: int) -> list[dict[str, Any]]:
            return self._files(PLAN, plan_id, address)

        def add_attachment(plan_id: int, filename: str, b64content: str) -> None:
            self._attach(PLAN, plan_id, filename, b64content)

        return list_attachments if verb == "list_attachments" else add_attachment

    def _files(self, kind: str, number: int, address: str) -> list[dict[str, Any]]:
        entity = self._records.entity(kind, number)
        if entity is None:
            raise RefusedError(200, f"{kind} matching query does not exist.")
        if self._faults().forbids(number):
            raise RefusedError(403, f'Authentication failed when calling "{kind}.list_attachments"')
        return self._records.files(entity, address)

    def _attach(self, kind: str, number: int, filename: str, b64content: str) -> None:
        if self._records.entity(kind, number) is None:
            raise RefusedError(200, f"No {kind} matches the given query.")
        name = name_received(filename)
        try:
            content = base64.b64decode(b64content)
        except binascii.Error:
            raise RefusedError(200, "Could not decode base64 data.") from None
        limit = self._faults().max_upload_bytes
        require_harmless(name, content, MAX_FILE_BYTES if limit is None else limit, _megabytes)
        stored = StoredContent()
        stored.write(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._records.keep(kind, number, ReceivedFile("", name, "text/plain", len(content), sha256, stored))

    def _remove(self, number: int) -> None:
        if self._records.state.attachment(number) is None:
            raise RefusedError(200, "No Attachment matches the given query.")
        if not self._quirks.keeps_deleted:
            self._records.state.delete(number)

    def _create(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        wrong = [(name, ["This field is required."]) for name in _REQUIRED[kind] if not str(values.get(name, ""))]
        title = str(values.get(_REQUIRED[kind][0], "")).strip()
        if len(title) > MAX_TITLE_CHARACTERS:
            most = f"Ensure this value has at most {MAX_TITLE_CHARACTERS} characters (it has {len(title)})."
            wrong.append((_REQUIRED[kind][0], [most]))
        if wrong or not title:
            raise RefusedError(200, str(wrong or [(_REQUIRED[kind][0], ["This field is required."])]))
        return self._records.as_created(self._records.create(kind, title, values))

    def _breakdown(self, query: dict[str, Any] | None = None) -> dict[str, Any]:
        count = len(self._records.found(CASE, query or {})) + self._quirks.miscounted
        counts = {"manual": count, "automated": 0, "all": count}
        return {"count": counts, "priorities": {}, "categories": {}}

    def _products(self) -> list[dict[str, Any]]:
        return [
            {"id": number, "name": name, "classification": 1, "description": ""}
            for number, name in enumerate(self._records.products, 1)
        ]

    def _versions(self, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        product = _product_in(query)
        name = self._records.products[product - 1]
        return [{"id": product, "value": "unspecified", "product": product, "product__name": name}]

    def _create_product(self, values: dict[str, Any]) -> dict[str, Any]:
        self._records.products.append(values["name"])
        return self._products()[-1]


def _product_in(query: dict[str, Any] | None) -> int:
    """The number of the product in a condition; its one category and its one version have the same."""
    number: int = (query or {}).get("product", 1)
    return number


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:.1f}\u00a0MB"
