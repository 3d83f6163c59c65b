# SPDX-License-Identifier: MIT
"""Makes text that users chose (names of jobs, above all) safe for the place where it is shown.

A job's name can hold escape sequences, newlines, bytes that are no UTF-8, or a spreadsheet's formula. An
administrator's terminal or spreadsheet would obey them.
"""

from __future__ import annotations

import unicodedata

from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""The first characters that make a spreadsheet take a cell for a formula (OWASP, CSV injection), full-width ones too.
"""


def visible(text: str) -> str:
    r"""Return `text` on one line. What does not print is written as an escape (`\n`, `\x1b`, `\u202e`)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def escaped(text: str) -> str:
    """Return `text` as `visible` does, with each backslash doubled, so that no name can look like an escape."""
    return visible(text.replace("\\", "\\\\"))


def without(delimiter: str, text: str) -> str:
    """Return `text` without `delimiter`: the first character of each delimiter in it is written as an escape."""
    if not delimiter or delimiter not in text:
        return text
    return text.replace(delimiter[0], _escape(delimiter[0]))


def defused(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet takes for a formula: a leading apostrophe marks it as text."""
    return f"'{text}" if text[:1] and text[0] in FORMULA_STARTS else text


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def widths(texts: Sequence[str]) -> list[int]:
    """Return the `width` of each text."""
    return list(map(len if all(map(str.isascii, texts)) else width, texts))


def shortened(text: str, columns: int) -> str:
    """Return `text` in at most `columns` columns. `+` at the end says that something was cut off, as in sacct."""
    if 2 * len(text) <= columns or width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "+"


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return SHORT.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
