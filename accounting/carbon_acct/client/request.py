# SPDX-License-Identifier: MIT
"""Asks the aggregators, one after the other, as the person who typed the command: MUNGE says who that is."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from carbon_collector.errors import RequestError, UsageError
from carbon_collector.http import signed_request
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from carbon_collector.http import Answer
    from carbon_collector.settings import Settings

TIMEOUT_S = 30.0


class Page(NamedTuple):
    """The answer to a query for jobs: the aggregator that gave it, the jobs, and its warnings."""

    url: str
    jobs: list[dict[str, Any]]
    warnings: list[str]


def ask_jobs(settings: Settings, parameters: Mapping[str, str]) -> Page:
    """Return the jobs that match. Raises as `ask` does."""
    query = urlencode(parameters, errors="surrogateescape")
    url, content = ask(settings, "GET", f"/v1/jobs?{query}" if query else "/v1/jobs")
    try:
        jobs, warnings = content["jobs"], content.get("warnings", [])
    except KeyError as err:
        raise _foreign(url) from err
    return Page(url, jobs, [str(warning) for warning in warnings])


def ask(settings: Settings, method: str, target: str, timeout_s: float = TIMEOUT_S) -> tuple[str, dict[str, Any]]:
    """Return the URL and the content of the first aggregator that answers; one with a fault of its own (5xx) does not.

    Raises MungeError, RequestError (no aggregator answers, or access is refused) and UsageError (a parameter is refused).
    """
    failures: list[str] = []
    for url in settings.aggregators():
        try:
            answer = signed_request(
                method, url, target, timeout_s=timeout_s, munge_socket=settings.text("slurm", "munge_socket")
            )
        except RequestError as err:
            failures.append(str(err))
            continue
        if answer.status < 500:
            return url, _content(url, answer)
        failures.append(f"{url} answers {answer.status}: {_detail(answer)}")
    raise RequestError(
        f"{'; '.join(failures)}; is carbon-aggregator running there, and [collector] aggregators in the configuration right?"
    )


def _content(url: str, answer: Answer) -> dict[str, Any]:
    if answer.status in (400, 422):
        raise UsageError(_detail(answer))
    if answer.status in (401, 403, 429):
        raise RequestError(f"{url} refuses: {_detail(answer)}", answer.status)
    if answer.status != 200:
        raise RequestError(
            f"{url} answers {answer.status}: {_detail(answer)}; is this the URL of a carbon-aggregator?", answer.status
        )
    try:
        content = json.loads(answer.body)
    except ValueError as err:
        raise _foreign(url) from err
    if not isinstance(content, dict):
        raise _foreign(url)
    return content


def _foreign(url: str) -> RequestError:
    return RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?")


def _detail(answer: Answer) -> str:
    """Return the reason that came with a refusal, in one line."""
    try:
        detail = json.loads(answer.body)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.body[:200].decode("utf-8", "replace")
    return " ".join(str(detail).split()) or "no reason given"
