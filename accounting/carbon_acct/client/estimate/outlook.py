# SPDX-License-Identifier: MIT
"""Asks the aggregator for the basis of an estimate: earlier jobs, the partition's power, the grid's intensity."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from carbon_collector.errors import RequestError
from carbon_collector.http import signed_request
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from carbon_collector.settings import Settings

DAY_S = 86_400
HISTORY_DAYS = 180
AHEAD_S = 3 * DAY_S
BEHIND_S = 7 * DAY_S


def own_jobs(config: Settings, now: int, **filters: str) -> list[dict[str, Any]]:
    """Return the caller's jobs of the last 180 days that match. Raises MungeError, RequestError and UsageError."""
    start = filters.pop("start", str(now - HISTORY_DAYS * DAY_S))
    parameters = {"start": start, "end": str(now + 1), **{name: value for name, value in filters.items() if value}}
    return request.ask_jobs(config, parameters).jobs


def power(config: Settings, partition: str, gres: str) -> dict[str, Any]:
    """Return the answer of `GET /v1/power`. Raises MungeError and RequestError."""
    return _get(config, "/v1/power", {"partition": partition, "gres": gres})


def intensity(config: Settings, zone: str, now: int) -> dict[str, Any]:
    """Return the answer of `GET /v1/intensity`: the last seven days, and the forecast. Raises MungeError and RequestError."""
    return _get(config, "/v1/intensity", {"zone": zone, "start": str(now - BEHIND_S), "end": str(now + AHEAD_S)})


def _get(config: Settings, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    target = f"{path}?{urlencode({name: value for name, value in parameters.items() if value})}"
    silent: list[str] = []
    for url in config.aggregators():
        content, problem = _ask(url, target, config.text("slurm", "munge_socket"))
        if content is not None:
            return content
        silent.append(problem)
    raise RequestError("; ".join(silent) or "no aggregator is known ([collector] aggregators)")


def _ask(url: str, target: str, munge_socket: str) -> tuple[dict[str, Any] | None, str]:
    """Return the answer of one aggregator, or None and the reason. Raises MungeError."""
    try:
        answer = signed_request("GET", url, target, munge_socket=munge_socket)
        content = json.loads(answer.body)
    except RequestError as err:
        return None, str(err)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return None, f"{url} answers, but not as a carbon-aggregator does"
    return (content, "") if answer.status == 200 else (None, f"{url}: {content.get('detail', answer.status)}")
