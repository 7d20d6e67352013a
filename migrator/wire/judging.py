"""Judges a response: whether it is what was requested, and otherwise which error it means."""

from __future__ import annotations

from dataclasses import replace

from migrator import errors
from migrator.ports import BodyFacts
from migrator.wire.auth import Signature, Signer
from migrator.wire.content_coding import coding_of
from migrator.wire.redirects import Hop, length_of_part
from migrator.wire.request import Request
from migrator.wire.status import body_facts, error_for_status, error_reason, wait_of
from migrator.wire.transport import Response


def is_taken(request: Request, response: Response) -> bool:
    """Whether the status says that this is what was requested."""
    if response.status == 200:
        return True
    if request.file:
        return response.status == 206 and length_of_part(response.headers) is not None
    return 200 <= response.status < 300


def is_challenge(signer: Signer, signature: Signature, response: Response) -> bool:
    """Whether the signer wants to answer this refusal with a new signature, such as one by the server's clock."""
    return response.status in {401, 403} and signer.refused(signature, response.headers)


def facts_of(response: Response) -> BodyFacts:
    """What the head of a response says about the file that follows."""
    facts = body_facts(response.headers)
    if response.status == 206:
        facts = replace(facts, length=length_of_part(response.headers))
    coding = coding_of(response.headers)
    return replace(facts, coding=coding) if coding else facts


def fault_of(response: Response, hop: Hop, body: bytes, max_wait: float) -> errors.MigratorError:
    """The error for a response that is not what was requested."""
    status, headers, subject = response.status, response.headers, hop.subject
    if status < 400:
        return hop.judged(errors.UnexpectedBodyError(f"{subject}: status {status}, which is unexpected here"))
    if hop.foreign and status in {401, 407}:
        reason = error_reason(body)
        fault: errors.MigratorError = errors.RejectedError(
            f"{subject}: status {status}" + (f", {reason}" if reason else "")
        )
    else:
        fault = error_for_status(status, headers, subject, body)
    if isinstance(fault, errors.RetriableError):
        fault.retry_after = wait_of(status, headers, max_wait)
    return hop.judged(fault)


def unknown_outcome(request: Request, error: errors.RetriableError) -> errors.OutcomeUnknownError:
    """The error for a write that failed in this way; it says whether the tracker may still be at work on it."""
    status, login = error.status or 0, isinstance(error, errors.LoginPageError)
    finished = login or status in {500, 503} or 200 <= status < 300
    at_work = isinstance(error, errors.ReadTimeoutError) or (status >= 500 and not finished)
    message = f"{request.subject}: it may or may not have been done ({error})"
    return errors.OutcomeUnknownError(message, finished=finished, at_work=at_work, login=login)
