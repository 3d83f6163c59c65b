# SPDX-License-Identifier: MIT
"""Stands in for `json`: the C code of the standard library without its wrapper, which imports `re` (half a megabyte).

It offers `dumps` and `loads` only. An interpreter without the C code uses the standard module.
"""

from __future__ import annotations

from .typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class _Context:
    """The attributes that the C scanner reads from its decoder, at their usual values."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the decoder's own name for it


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_encode: Callable[[Any, int], Iterable[str]]
_scan: Callable[[str, int], tuple[Any, int]]
try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
    _scan = make_scanner(_Context)  # type: ignore[arg-type] # a class with these names will do
except (ImportError, TypeError):
    import json

    _encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

    def _encode(value: Any, _level: int) -> Iterable[str]:
        return _encoder.iterencode(value)

    _scan = json.JSONDecoder().raw_decode


def dumps(value: Any) -> str:
    """Return a value as JSON without blanks. Raises TypeError for a type that JSON does not have, ValueError for NaN."""
    return "".join(_encode(value, 0))


def loads(text: str | bytes) -> Any:
    """Return the value that a JSON text describes. Raises ValueError for any other text."""
    clean = (text.decode() if isinstance(text, bytes) else text).strip(" \t\r\n")
    try:
        value, end = _scan(clean, 0)
    except StopIteration as err:
        raise ValueError(f"no JSON at character {err.value}") from None
    if end != len(clean):
        raise ValueError(f"more than JSON at character {end}")
    return value
