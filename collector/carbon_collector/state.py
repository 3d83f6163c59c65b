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
    from collections.abc import Iterator
    from typing import Any


VERSION = 3
"""Version of the state's format."""
NAME = "state.json"
"""Name of the file in the state directory."""


def save(folder: str, state: dict[str, Any], sync: bool = False) -> None:
    """Write the state; with `sync` it survives a power failure. Raises OSError.

    Not every reading needs that: after a power failure the counters are new ones anyway.
    """
    parts = [b"", *_parts({"version": VERSION, **state})]
    parts[0] = f"{digest(*parts)}\n".encode()
    body = b"".join(parts)
    try:
        write_durably(f"{folder}/{NAME}", body, sync=sync)
    except FileNotFoundError:
        os.makedirs(folder, mode=0o700)  # somebody has wiped it
        write_durably(f"{folder}/{NAME}", body, sync=sync)


def _parts(state: dict[str, Any]) -> Iterator[bytes]:
    """Make the state as JSON, piece by piece.

    The encoder holds every word of its input until it joins them, and the process keeps memory that it needed once.
    """
    before = "{"
    for key, value in state.items():
        if isinstance(value, list):
            yield f"{before}{json.dumps(key)}:[".encode()
            for place, one in enumerate(value):
                yield f"{',' if place else ''}{json.dumps(one)}".encode()
            yield b"]"
        else:
            yield f"{before}{json.dumps(key)}:{json.dumps(value)}".encode()
        before = ","
    yield b"}"


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
