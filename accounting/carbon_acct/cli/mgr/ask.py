# SPDX-License-Identifier: MIT
"""Asks the running aggregators, for the commands that work through them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from carbon_collector.errors import RequestError

if TYPE_CHECKING:
    from carbon_collector.settings import Settings


def ask(config: Settings, method: str, target: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """What the first aggregator that answers says. Raises RequestError and MungeError."""
    from carbon_collector.http import signed_request

    silent: list[str] = []
    for url in config.aggregators():
        try:
            answer = signed_request(
                method, url, target, timeout_s=timeout_s, munge_socket=config.text("slurm", "munge_socket")
            )
        except RequestError as err:
            silent.append(str(err))
            continue
        try:
            content: dict[str, Any] = json.loads(answer.body)
        except ValueError as err:
            raise RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?") from err
        if answer.status != 200:
            raise RequestError(f"{url} refuses: {content.get('detail', answer.status)}", answer.status)
        return content
    raise RequestError(
        f"{'; '.join(silent)}; is carbon-aggregator running there, and [collector] aggregators in the configuration right?"
    )
