# SPDX-License-Identifier: MIT
"""Makes and reads the link that signs a user in to carbon-web: a MUNGE credential in an address.

munged says who made a credential and takes each once, so neither a secret nor a table of links is needed. The payload is
a digest of this purpose and the site's address: no credential of a request is a link, and no link is one of a request.
"""

from __future__ import annotations

from carbon_collector.munge import digest

LINK_S = 60
"""The time in seconds for which a link works."""
PATH = "sign-in"
WORD = "link"
HEAD, TAIL = "MUNGE:", ":"


def payload(url: str) -> str:
    """Return what the credential of a link to the pages at `url` carries."""
    return digest(b"carbon-web sign-in ", url.rstrip("/").encode())


def link(url: str, credential: str) -> str:
    """Return the link, whose credential has only characters that an address may have."""
    middle = credential[len(HEAD) : -len(TAIL)].translate(str.maketrans("+/", "-_"))
    return f"{url.rstrip('/')}/{PATH}?{WORD}={middle.rstrip('=')}"


def credential(word: str) -> str:
    """Return the credential of a link's word. It may be anything: munged judges it."""
    middle = word.translate(str.maketrans("-_", "+/"))
    return f"{HEAD}{middle}{'=' * (-len(middle) % 4)}{TAIL}"
