# SPDX-License-Identifier: MIT
"""How a provider is asked: what is tried again, what is not, what bounds it, and what never shows."""

from __future__ import annotations

import gzip
import logging
import socket
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from carbon_acct.errors import ProviderError
from carbon_acct.grid.fetch import Question, fetch
from carbon_acct.grid.provider import Patience

from .conftest import QUICK, TOKEN
from .services import Asked, Reply, Service, as_json


def ask(service: Service, patience: Patience = QUICK) -> bytes:
    question = Question("the provider", f"{service.url}/x", {"securityToken": TOKEN}, {"auth-token": TOKEN}, TOKEN)
    return fetch(question, patience)


def test_an_outage_that_passes(service: Service) -> None:
    """HTTP 5xx is tried again, and the answer that comes then is taken."""
    service.say(Reply(status=500), Reply(status=503), Reply(b"good"))

    assert ask(service) == b"good"
    assert len(service.asked) == 3


def test_an_outage_that_stays(service: Service) -> None:
    """After the last try there is one line with the status; it may pass, so it is not permanent."""
    service.say(Reply(b"<html>oops</html>", 502, "text/html"))

    with pytest.raises(ProviderError, match=r"^the provider is out of order \(HTTP 502\)$") as e:
        ask(service)
    assert (len(service.asked), e.value.permanent, e.value.retry_after_s) == (QUICK.attempts, False, None)


def test_too_many_requests(service: Service) -> None:
    """HTTP 429 is not tried again: the seconds the provider asks for are handed on."""
    service.say(as_json({"message": "slow down"}, 429, Retry_After="120"))

    with pytest.raises(ProviderError, match=r"fewer requests \(HTTP 429: slow down\); again in 120 s") as e:
        ask(service)
    assert (len(service.asked), e.value.retry_after_s, e.value.permanent) == (1, 120, False)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_as_a_date(service: Service, status: int) -> None:
    """Retry-After may be a date, and a 503 may have it too."""
    at = datetime.now(UTC) + timedelta(seconds=300)
    service.say(Reply(status=status, headers={"Retry-After": format_datetime(at, usegmt=True)}))

    with pytest.raises(ProviderError) as e:
        ask(service)
    assert e.value.retry_after_s is not None
    assert 290 < e.value.retry_after_s <= 300
    assert len(service.asked) == 1


@pytest.mark.parametrize(("text", "seconds"), [("soon", None), ("-5", None), ("9" * 30, 86_400), ("", None)])
def test_retry_after_that_is_nonsense(service: Service, text: str, seconds: float | None) -> None:
    """What cannot be read is no time at all; nobody is waited for longer than a day."""
    service.say(Reply(status=429, headers={"Retry-After": text}))

    with pytest.raises(ProviderError) as e:
        ask(service)
    assert e.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("status", "words", "forbidden"),
    [
        (400, "refuses the request", False),
        (401, "refuses the token", True),
        (403, "does not allow this", True),
        (404, "does not know this zone or address", False),
        (301, "does not answer", False),
        (418, "does not answer", False),
    ],
)
def test_a_refusal_is_final(service: Service, status: int, words: str, forbidden: bool) -> None:
    """Asking again would not help, and is not done; no redirect is followed."""
    service.say(Reply(status=status, headers={"Location": "/elsewhere"}))

    with pytest.raises(ProviderError, match=rf"{words} \(HTTP {status}\)") as e:
        ask(service)
    assert (e.value.permanent, e.value.forbidden, len(service.asked)) == (True, forbidden, 1)


def test_nobody_listens() -> None:
    """No connection is one line without the address, whose query may hold a token."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]

    with pytest.raises(ProviderError, match=r"no connection or a torn answer \(ConnectError\)$"):
        fetch(Question("the provider", f"http://127.0.0.1:{port}", {"securityToken": TOKEN}), QUICK)


def test_silence_ends(service: Service) -> None:
    """A service that accepts and says nothing is waited for only so long."""
    service.say(Reply(b"late", hold_s=30))

    with pytest.raises(ProviderError, match=r"no answer within 0\.1 s"):
        ask(service, Patience(attempts=2, wait_s=0.001, wait_max_s=0.01, timeout_s=0.1))
    assert len(service.asked) == 2


def test_a_dripping_answer_ends(service: Service) -> None:
    """An answer whose every piece comes in time, but which never ends, is given up."""
    service.say(Reply(b"x" * 1000, pieces=1000, hold_s=0.02))

    with pytest.raises(ProviderError, match=r"not complete after 0\.2 s"):
        ask(service, Patience(attempts=1, timeout_s=5, answer_s=0.2))


def test_a_huge_answer_ends(service: Service) -> None:
    """An answer beyond the bound is dropped, not kept in memory."""
    service.say(Reply(b"x" * 5000))

    with pytest.raises(ProviderError, match="larger than 1000 bytes"):
        ask(service, Patience(attempts=1, max_bytes=1000))


def test_a_torn_answer(service: Service) -> None:
    """An answer that breaks off is not an answer."""
    service.say(Reply(b"half", headers={"Content-Length": "100", "Connection": "close"}))

    with pytest.raises(ProviderError, match="torn answer"):
        ask(service, Patience(attempts=1, timeout_s=1))


def test_a_token_is_never_shown(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a log at any level nor a message has the token, not even where the service repeats it."""
    caplog.set_level(logging.DEBUG)

    def answer(asked: Asked) -> Reply:
        return as_json({"error": f"bad\ntoken {asked.headers['auth-token']}"}, 401)

    service.answer = answer

    with pytest.raises(ProviderError, match=r"HTTP 401: bad token …") as e:
        ask(service)
    assert TOKEN not in str(e.value) + caplog.text
    assert service.asked[0].params == {"securityToken": TOKEN}


def test_a_compressed_answer(service: Service) -> None:
    """An answer that was not asked for in that form is not expanded: 60 KB of it may stand for gigabytes."""
    service.say(Reply(gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(ProviderError, match="is compressed; expected it as it is"):
            ask(service)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
