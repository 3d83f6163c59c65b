# SPDX-License-Identifier: MIT
"""Saves and loads the state on disk. A collector that was killed at any instant continues from it: the counters have
counted on.

It is written whole at every reading, before anything that follows from it leaves the node.
"""

from __future__ import annotations

import os

from .durable import write_durably
from .errors import StateError
from .lean import json
from .lean.typing import TYPE_CHECKING
from .munge import digest

if TYPE_CHECKING:
    from typing import Any


VERSION = 3
"""Version of the state's format."""
NAME = "state.json"
"""Name of the file in the state directory."""


def save(folder: str, state: dict[str, Any], sync: bool = False) -> None:
    """Write the state; with `sync` it survives a power failure. Raises OSError.

    Not every reading needs that: after a power failure the counters are new ones anyway.
    """
    body = _written({"version": VERSION, **state}).encode()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_durably(f"{folder}/{NAME}", f"{digest(body)}\n".encode() + body, sync=sync)


def _written(state: dict[str, Any]) -> str:
    """Return the state as JSON, made piece by piece.

    The encoder holds every word of its input until it joins them, and the process keeps memory that it needed once.
    """
    return "{" + ",".join(f"{json.dumps(key)}:{_piece(value)}" for key, value in state.items()) + "}"


def _piece(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(json.dumps, value)) + "]"
    return json.dumps(value)


def load(folder: str) -> dict[str, Any] | None:
    """Return the state, or `None` where there is none yet. Raises StateError for one that is torn or foreign."""
    path = f"{folder}/{NAME}"
    try:
        with open(path, encoding="utf-8") as file:
            checksum, _, body = file.read().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as err:
        raise StateError(f"{path}: cannot be read: {err}") from err
    if digest(body.encode()) != checksum:
        raise StateError(f"{path}: is torn or was changed by hand")
    state: Any = json.loads(body)
    version = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise StateError(f"{path}: version {version} is not {VERSION}")
    return dict(state)


def set_aside(folder: str) -> None:
    """Keep an unusable state for a person to look at."""
    os.replace(f"{folder}/{NAME}", f"{folder}/{NAME}.bad")
