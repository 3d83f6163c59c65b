# SPDX-License-Identifier: MIT
"""Asks the aggregators, one after the other, as the person who typed the command: MUNGE says who that is."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

from carbon_collector.errors import RequestError, UsageError
from carbon_collector.http import signed_request
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from .order import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from carbon_collector.http import Answer
    from carbon_collector.settings import Settings

TIMEOUT_S = 30.0


class Page(NamedTuple):
    """A page of the answer to a query for jobs: the aggregator that gave it, jobs, warnings, and where the next page
    begins.
    """

    url: str
    jobs: list[dict[str, Any]]
    warnings: list[str]
    next: str = ""


MAX_LIST = 30_000
"""The most characters of a list in a request."""
MAX_WORDS = 5000
"""The most names of a list in a request."""
MAX_WAITS = 30
WAIT_S = 1.0
NOBODY = "nobody has"
"""The words of the answer about a user or a QOS that does not exist (404)."""


def ask_jobs(settings: Settings, parameters: Mapping[str, str]) -> Page:
    """Return the jobs that match, in sacct's order, page after page, from the first aggregator that answers. Raises as `ask` does."""
    parts = _parts(parameters)
    page = _all_pages(settings, parts[0])
    for part in parts[1:]:
        more = _all_pages(settings, part, page.url)
        page = Page(page.url, page.jobs + more.jobs, page.warnings + more.warnings)
    jobs = page.jobs if len(parts) == 1 else _once(page.jobs)
    return Page(page.url, in_order(jobs), list(dict.fromkeys(page.warnings)))


def _parts(parameters: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return the requests for a query. A long list of JobIDs is split, so that the head of each request stays short
    enough.
    """
    words = parameters.get("jobs", "").split(",")
    parts, start, length = [], 0, 0
    for at, word in enumerate(words):
        length += len(word) + 1
        if length > MAX_LIST or at - start == MAX_WORDS:
            parts.append({**parameters, "jobs": ",".join(words[start:at])})
            start, length = at, len(word) + 1
    return [*parts, {**parameters, "jobs": ",".join(words[start:])}] if parts else [parameters]


def _once(jobs: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Return the jobs of several questions, each once."""
    return {(job["cluster"], job["job_id_raw"], job["submit"]): job for job in jobs}.values()


def _all_pages(settings: Settings, parameters: Mapping[str, str], url: str = "") -> Page:
    page = _page(settings, parameters, url)
    jobs, warnings = page.jobs, page.warnings
    while page.next:
        page = _page(settings, {**parameters, "after": page.next}, page.url)
        jobs += page.jobs
        warnings += page.warnings
    return Page(page.url, jobs, warnings)


def _page(settings: Settings, parameters: Mapping[str, str], url: str) -> Page:
    query = urlencode(parameters, errors="surrogateescape")
    target = f"/v1/jobs?{query}" if query else "/v1/jobs"
    answered, content = ask(settings, "GET", target, url=url)
    try:
        jobs, warnings, after = content["jobs"], content.get("warnings", []), content.get("next")
    except KeyError as err:
        raise foreign(answered) from err
    return Page(answered, jobs, [str(warning) for warning in warnings], str(after or ""))


def ask(
    settings: Settings, method: str, target: str, timeout_s: float = TIMEOUT_S, url: str = ""
) -> tuple[str, dict[str, Any]]:
    """Return the URL and the answer of the first aggregator that answers. One that fails with 5xx counts as not
    answering.

    With `url` only that aggregator is asked. If it answers 429 (too many requests), the request is repeated after a
    pause. Raises MungeError, RequestError (no aggregator answers, or access is refused) and UsageError (a parameter is
    refused).
    """
    failures: list[str] = []
    munge_socket = settings.text("slurm", "munge_socket")
    for one in [url] if url else settings.aggregators():
        try:
            answer = signed_request(method, one, target, timeout_s=timeout_s, munge_socket=munge_socket)
            for _ in range(MAX_WAITS if url else 0):
                if answer.status != 429:
                    break
                time.sleep(WAIT_S)
                answer = signed_request(method, one, target, timeout_s=timeout_s, munge_socket=munge_socket)
        except RequestError as err:
            failures.append(str(err))
            continue
        if answer.status < 500:
            return one, _content(one, answer)
        failures.append(f"{one} answers {answer.status}: {_detail(answer)}")
    raise RequestError(
        f"{'; '.join(failures)}; is carbon-aggregator running there, and [collector] aggregators in the configuration right?"
    )


def _content(url: str, answer: Answer) -> dict[str, Any]:
    if answer.status in (400, 422):
        raise UsageError(_detail(answer))
    if answer.status in (401, 403, 429):
        raise RequestError(f"{url} refuses: {_detail(answer)}", answer.status)
    if answer.status == 404 and NOBODY in _detail(answer):
        raise RequestError(_detail(answer), answer.status)
    if answer.status != 200:
        raise RequestError(
            f"{url} answers {answer.status}: {_detail(answer)}; is this the URL of a carbon-aggregator?", answer.status
        )
    try:
        content = json.loads(answer.body)
    except ValueError as err:
        raise foreign(url) from err
    if not isinstance(content, dict):
        raise foreign(url)
    return content


def foreign(url: str) -> RequestError:
    """Return the error about an answer that no aggregator gives."""
    return RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?")


def _detail(answer: Answer) -> str:
    """Return the reason that came with a refusal, in one line."""
    try:
        detail = json.loads(answer.body)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.body[:200].decode("utf-8", "replace")
    return " ".join(str(detail).split()) or "no reason given"
