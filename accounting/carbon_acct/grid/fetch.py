# SPDX-License-Identifier: MIT
"""Asks a provider over HTTP, with bounded patience and errors of one line.

What passes by itself (no connection, silence, HTTP 5xx) is retried after a random, growing pause. "Too many requests"
is not retried: the provider's own `Retry-After` goes to whoever plans the next request. No redirect is followed, since
a token might travel with it, and neither a token nor an address with one in it gets into a message or a log.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import Patience
from carbon_collector import __version__
from carbon_collector.units import DAY_S

if TYPE_CHECKING:
    import httpx

# At INFO httpx logs whole addresses; ENTSO-E wants its token in there.
logging.getLogger("httpx").setLevel(logging.WARNING)

LONGEST_RETRY_AFTER_S = DAY_S
REFUSALS = {
    400: "refuses the request",
    401: "refuses the token",
    403: "does not allow this",
    404: "does not know this zone or address",
}


class _PassingError(ProviderError):
    """An error that a retry may mend."""


@dataclass(frozen=True)
class Question:
    """A GET. `secret` must never be shown. `accepted` are the statuses whose body is an answer. `token_file` is where a
    person looks when the token is refused.
    """

    who: str
    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str] | None = None
    secret: str = ""
    token_file: Path | None = None
    accepted: tuple[int, ...] = (200,)


def fetch(question: Question, patience: Patience) -> bytes:
    """Return the body of an answer. Raises ProviderError."""
    from tenacity import (  # noqa: PLC0415  as httpx below: most programs know the providers, and ask none
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    tries = Retrying(
        stop=stop_after_attempt(patience.attempts),
        wait=wait_random_exponential(multiplier=patience.wait_s, max=patience.wait_max_s),
        retry=retry_if_exception_type(_PassingError),
        reraise=True,
    )
    return tries(_ask, question, patience)


def stamp(at: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a time as an address spells it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime(form)


def _ask(question: Question, patience: Patience) -> bytes:
    import httpx  # noqa: PLC0415  it takes half as long as all of SQLAlchemy

    who = question.who
    agent = f"carbon-acct/{__version__}"
    headers = {"User-Agent": agent, "Accept-Encoding": "identity", **(question.headers or {})}
    try:
        with (
            httpx.Client(timeout=patience.timeout_s, verify=_certificates()) as client,
            client.stream("GET", question.url, params=dict(question.params), headers=headers) as response,
        ):
            body = _body(who, response, patience)
    except httpx.TimeoutException as e:
        raise _PassingError(f"{who}: no answer within {patience.timeout_s:g} s", kind="timeout") from e
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
        # Its text may quote the address.
        raise _PassingError(f"{who}: no connection or a torn answer ({type(e).__name__})", kind="connection") from e
    if response.status_code not in question.accepted:
        raise _refusal(question, response, body)
    return body


@cache
def _certificates() -> ssl.SSLContext:
    """Return the host's trusted certificates. They are read once, because reading them takes longer than a request."""
    return ssl.create_default_context()


def _body(who: str, response: httpx.Response, patience: Patience) -> bytes:
    """A body, bounded in size and time: every piece of a dripping one would come within the timeout.

    A compressed one was not asked for: 60 KB of it may stand for any amount.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ProviderError(f"{who}: the answer is compressed; expected it as it is")
    deadline = time.monotonic() + patience.answer_s
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > patience.max_bytes:
            raise ProviderError(f"{who}: the answer is larger than {patience.max_bytes} bytes")
        if time.monotonic() > deadline:
            raise _PassingError(f"{who}: the answer is not complete after {patience.answer_s:g} s", kind="timeout")
    return bytes(body)


def _refusal(question: Question, response: httpx.Response, body: bytes) -> ProviderError:
    status = response.status_code
    said = _said(body).replace(question.secret or "\0", "…")
    why = f"HTTP {status}{f': {said}' if said else ''}"
    wait = _retry_after(response.headers.get("Retry-After", ""))
    if status == 429 or (status == 503 and wait is not None):
        again = f"; again in {wait:g} s" if wait is not None else ""
        reason = f"{question.who} asks for fewer requests ({why}){again}"
        return ProviderError(reason, kind=f"http_{status}", retry_after_s=wait)
    if status >= 500:
        return _PassingError(f"{question.who} is out of order ({why})", kind=f"http_{status}")
    forbidden = status in (401, 403)
    remedy = f"; check {question.token_file}" if forbidden and question.token_file else ""
    reason = f"{question.who} {REFUSALS.get(status, 'does not answer')} ({why}){remedy}"
    return ProviderError(reason, kind=f"http_{status}", permanent=True, forbidden=forbidden)


def _said(body: bytes) -> str:
    """Return the message in an error's body: one short printable line, empty where it has none of the usual forms."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for name in ("error", "message", "detail", "error_description"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    text = found if isinstance(found, str) else ""
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After, which may be a date, or None where it cannot be read."""
    if text.strip().isascii() and text.strip().isdigit():
        return float(min(int(text.strip()[:9]), LONGEST_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)
