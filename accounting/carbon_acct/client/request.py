# SPDX-License-Identifier: MIT
"""Asks an aggregator about jobs, as the person who typed the command: MUNGE says who that is."""

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


class Page(NamedTuple):
    """What an aggregator said: who, the jobs, and its warnings."""

    url: str
    jobs: list[dict[str, Any]]
    warnings: list[str]


def ask_jobs(settings: Settings, parameters: Mapping[str, str]) -> Page:
    """Get the jobs that match from the first aggregator that answers.

    Raises MungeError, RequestError (nobody answers, or access is refused) and UsageError (a parameter is refused).
    """
    query = urlencode(parameters, errors="surrogateescape")
    target = f"/v1/jobs?{query}" if query else "/v1/jobs"
    silent: list[str] = []
    for url in settings.aggregators():
        try:
            answer = signed_request("GET", url, target, munge_socket=settings.text("slurm", "munge_socket"))
        except RequestError as err:
            silent.append(str(err))
            continue
        if answer.status < 500:
            return _page(url, answer)
        silent.append(f"{url} answers {answer.status}: {_detail(answer)}")
    raise RequestError(
        f"{'; '.join(silent)}; is carbon-aggregator running there, and [collector] aggregators in the configuration right?"
    )


def _page(url: str, answer: Answer) -> Page:
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
        jobs, warnings = content["jobs"], content.get("warnings", [])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?") from err
    return Page(url, jobs, [str(warning) for warning in warnings])


def _detail(answer: Answer) -> str:
    """The reason that came with a refusal, in one line."""
    try:
        detail = json.loads(answer.body)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.body[:200].decode("utf-8", "replace")
    return " ".join(str(detail).split()) or "no reason given"
