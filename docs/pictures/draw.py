# SPDX-License-Identifier: MIT
"""Draws each *.dot beside this file as *.svg with Graphviz. The picture says by a checksum of which text it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def mark(text: bytes) -> str:
    """Return the comment that ends the picture of a text."""
    return f"<!-- of the text with sha256 {hashlib.sha256(text).hexdigest()} -->\n"


def main() -> None:
    """Draw all pictures."""
    for source in sorted(HERE.glob("*.dot")):
        text = source.read_bytes()
        svg = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, check=True).stdout.decode()
        source.with_suffix(".svg").write_text(svg + mark(text), encoding="utf-8")
        sys.stdout.write(f"{source.with_suffix('.svg')}\n")


if __name__ == "__main__":
    main()
