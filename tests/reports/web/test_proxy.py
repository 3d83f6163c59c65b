# SPDX-License-Identifier: MIT
"""carbon-web behind a real nginx, as carbon-web(8) says: under a path, with passwords, and by links."""

from __future__ import annotations

import base64
import urllib.request
from html import unescape
from http.client import HTTPMessage
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urljoin

import pytest

from accounting.api.test_api import ALICE

from .conftest import HEADER, URL
from .proxy import nginx
from .test_links import asked
from .test_pages import MONTH, PAGES

if TYPE_CHECKING:
    from pathlib import Path

    from accounting.slurm_programs import StandIn

    from .conftest import Web

pytestmark = [pytest.mark.root, pytest.mark.parametrize("web", ["links"], indirect=True)]
ALICES = {"Authorization": f"Basic {base64.b64encode(b'alice:secret').decode()}"}


def fetched(address: str, headers: dict[str, str] | None = None) -> tuple[int, str, HTTPMessage]:
    """Status, text and headers of what a browser gets."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers or {}), timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except HTTPError as err:
        return err.code, err.read().decode(), err.headers


def test_behind_nginx(web: Web, slurm: StandIn, tmp_path: Path) -> None:
    """The password decides who it is, whatever headers a browser sends; every link stays below the path and works."""
    web.private(slurm, "jobs")
    (tmp_path / "passwords").write_text("alice:{PLAIN}secret\nstranger:{PLAIN}secret\n", encoding="ascii")
    signs_in = f"auth_basic carbon; auth_basic_user_file {tmp_path}/passwords; proxy_set_header {HEADER} $remote_user;"
    no_header = f'proxy_set_header {HEADER} "";'
    with nginx(tmp_path, web.socket, {"/carbon/": signs_in, "/by-link/": no_header}) as address:
        pages = f"{address}/carbon/"
        assert fetched(pages)[0] == 401
        assert fetched(pages, {"Authorization": f"Basic {base64.b64encode(b'stranger:secret').decode()}"})[0] == 403
        forged = {HEADER: "bob", "X-Forwarded-User": "bob", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "evil"}
        status, text, headers = fetched(f"{pages}month?month={MONTH}", ALICES | forged)
        assert status == 200
        assert "Signed in as alice" in text
        assert "evil" not in text
        assert headers["Cache-Control"] == "no-store"
        assert fetched(f"{pages}job?id=2", ALICES | forged)[0] == 404  # bob's
        seen, todo = set(), [urljoin(pages, target) for target in PAGES]
        while todo and len(seen) < 40:
            at = todo.pop()
            if at in seen:
                continue
            seen.add(at)
            status, text, _ = fetched(at, ALICES)
            assert (status, at.startswith(pages)) == (200, True), at
            todo += [urljoin(at, unescape(part.partition('"')[0])) for part in text.split('href="')[1:]]
        assert len(seen) > 12
        link = asked(web, ALICE).replace(URL, f"{address}/by-link")
        assert fetched(f"{address}/by-link/", {HEADER: "alice"})[0] == 403
        status, _, headers = fetched(link)
        assert status == 200
        cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
        assert "Signed in as alice" in fetched(f"{address}/by-link/?year=2012", cookie)[1]
        assert fetched(link)[0] == 410
