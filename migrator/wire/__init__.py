"""HTTP to one tracker: a request becomes an answer or one of `migrator.errors`."""

from migrator.wire.answer import Answer
from migrator.wire.auth import HeaderAuth, HmacAuth, QueryTokenAuth, Signer, WrapAuth, basic, bearer
from migrator.wire.base64_field import Base64Sink
from migrator.wire.client import HttpClient
from migrator.wire.content_coding import DECODABLE, ContentDecoder, may_be_encoded
from migrator.wire.handover import BorrowingSigner, Lender, LentSession, SharedRateLimiter
from migrator.wire.json_codec import read_json, written_json
from migrator.wire.json_rpc_auth import JsonRpcAuth
from migrator.wire.rate import RateLimiter
from migrator.wire.reach import Reach
from migrator.wire.reading import CHUNK_BYTES
from migrator.wire.recording import KeptBody, KeptExchange, Recorder
from migrator.wire.redaction import spelled, without_secrets
from migrator.wire.request import Request
from migrator.wire.request_body import Base64CallBody, Base64JsonBody, MultipartBody, RawBody, sendable
from migrator.wire.route import OBSOLETE_TLS_VERSIONS, Proxy, Route, TlsFiles
from migrator.wire.status import (
    error_reason,
    parse_json_or_none,
    says_too_large,
)
from migrator.wire.waits import Wait, Waits

__all__ = [
    "CHUNK_BYTES",
    "DECODABLE",
    "OBSOLETE_TLS_VERSIONS",
    "Answer",
    "Base64CallBody",
    "Base64JsonBody",
    "Base64Sink",
    "BorrowingSigner",
    "ContentDecoder",
    "HeaderAuth",
    "HmacAuth",
    "HttpClient",
    "JsonRpcAuth",
    "KeptBody",
    "KeptExchange",
    "Lender",
    "LentSession",
    "MultipartBody",
    "Proxy",
    "QueryTokenAuth",
    "RateLimiter",
    "RawBody",
    "Reach",
    "Recorder",
    "Request",
    "Route",
    "SharedRateLimiter",
    "Signer",
    "TlsFiles",
    "Wait",
    "Waits",
    "WrapAuth",
    "basic",
    "bearer",
    "error_reason",
    "may_be_encoded",
    "parse_json_or_none",
    "read_json",
    "says_too_large",
    "sendable",
    "spelled",
    "without_secrets",
    "written_json",
]
