"""HTTP to one tracker: a request becomes an answer or one of `migrator.errors`."""

from migrator.wire.auth import Header, Hmac, QueryToken, Signer, Wrap, basic, bearer
from migrator.wire.base64_field import Base64Sink
from migrator.wire.client import Answer, Call, HttpClient
from migrator.wire.content_coding import UNDONE, Undoing, is_begun
from migrator.wire.json_codec import read_json, written_json
from migrator.wire.rate import Pacer
from migrator.wire.reading import CHUNK
from migrator.wire.request_body import InJson, Multipart, Raw
from migrator.wire.route import OLD, Proxy, Route, TlsFiles
from migrator.wire.status import (
    SNIFF,
    expects_html,
    expects_json,
    is_error_page,
    is_login_form,
    looks_like_error,
    looks_like_html,
    page_instead,
    reason_in,
    says_too_large,
    told_in,
)
from migrator.wire.waits import Waits

__all__ = [
    "CHUNK",
    "OLD",
    "SNIFF",
    "UNDONE",
    "Answer",
    "Base64Sink",
    "Call",
    "Header",
    "Hmac",
    "HttpClient",
    "InJson",
    "Multipart",
    "Pacer",
    "Proxy",
    "QueryToken",
    "Raw",
    "Route",
    "Signer",
    "TlsFiles",
    "Undoing",
    "Waits",
    "Wrap",
    "basic",
    "bearer",
    "expects_html",
    "expects_json",
    "is_begun",
    "is_error_page",
    "is_login_form",
    "looks_like_error",
    "looks_like_html",
    "page_instead",
    "read_json",
    "reason_in",
    "says_too_large",
    "told_in",
    "written_json",
]
