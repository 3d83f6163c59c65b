# SPDX-License-Identifier: MIT
"""The link of `carbon-acct --web`: who it signs in, once and for a minute, and what the cookie is good for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from accounting.api.test_api import ALICE, BOB, CARL
from carbon_acct.client import web_link
from carbon_collector import munge
from carbon_reports.web.links import MOST_OF_ONE, SESSION_S, Links

from .conftest import URL
from .test_pages import CSP, PAGES

if TYPE_CHECKING:
    from accounting.slurm_programs import StandIn

    from .conftest import Page, Web

with_links = pytest.mark.parametrize("web", ["links"], indirect=True)


def asked(web: Web, uid: int) -> str:
    """The link that `carbon-acct --web` prints to a user."""
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "CARBON_ACCT_CONF": str(web.config)}
    command = [str(Path(sys.executable).parent / "carbon-acct"), "--web"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, user=uid, cwd="/", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{URL}/sign-in?link=")
    return done.stdout.strip()


def follow(web: Web, link: str) -> Page:
    """The answer to a link, which the proxy sends without its own prefix."""
    return web.send(link.removeprefix(URL))


def cookie_of(page: Page) -> str:
    """What a browser sends back."""
    return page.headers["set-cookie"].partition(";")[0]


@pytest.mark.root
@with_links
def test_a_link_signs_in_once(web: Web, slurm: StandIn) -> None:
    """It shows its maker's pages and no one else's, says so in a cookie that scripts and other sites never get, and then
    is 410. Signed out, the cookie is good for nothing.
    """
    web.private(slurm, "jobs")
    link = asked(web, ALICE)
    page = follow(web, link)
    assert page.status == 200
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["content-security-policy"].startswith(CSP)
    kept = page.headers["set-cookie"].split("; ")[1:]
    assert kept == ["Path=/carbon/", f"Max-Age={SESSION_S}", "HttpOnly", "SameSite=Strict", "Secure"]
    again = follow(web, link)
    assert again.status == 410
    assert "set-cookie" not in again.headers
    cookie = cookie_of(page)
    for target in PAGES:
        shown = web.send(f"/{target.removeprefix('./')}", cookie=f"other=1; {cookie}")
        assert shown.text.replace(' <a href="sign-out">Sign out</a>', "") == web.get(target, "alice").text
    assert web.send("/job?id=2", cookie=cookie).status == 404  # bob's
    assert "Max-Age=0" in web.send("/sign-out", cookie=cookie).headers["set-cookie"]
    assert web.send("/", cookie=cookie).status == 403


@pytest.mark.root
@with_links
def test_the_proxy_s_header_goes_before(web: Web) -> None:
    """A header decides alone: another user's cookie does not count beside it, and a bad one is 403 with any cookie."""
    cookie = cookie_of(follow(web, asked(web, ALICE)))
    assert "Signed in as bob" in web.send("/", ["bob"], cookie=cookie).text
    for named in (["nobody-at-all"], ["alice", "alice"], [""]):
        assert web.send("/", named, cookie=cookie).status == 403


@pytest.mark.root
@with_links
def test_what_is_no_link(web: Web) -> None:
    """A credential for something else, of a stranger or of root, a forged one, and none: nobody is signed in."""
    socket = web.served.munge_socket
    made = {
        "of a request": web.served.credential(munge.request_digest("GET", "/v1/jobs", b""), ALICE),
        "of another site": web.served.credential(web_link.payload("https://elsewhere.example"), ALICE),
        "of a stranger": web.served.credential(web_link.payload(URL), CARL),
        "of root": munge.encode(web_link.payload(URL), socket),
    }
    for name, credential in made.items():
        page = follow(web, web_link.link(URL, credential))
        assert (page.status, "set-cookie" in page.headers) == (403, False), name
    for word in ("AAAA", "x" * 3000, "%00", "\u00fc".encode().decode("latin-1")):
        assert web.send(f"/sign-in?link={word.encode('ascii', 'ignore').decode() or 'z'}").status == 410, word
    for target in ("/sign-in", "/sign-in?link=", "/sign-in?link=a&link=b", f"/sign-in?link={'x' * 5000}"):
        assert web.send(target).status == 403, target
    for cookie in ("carbon_web=", "carbon_web=guess", "x"):
        assert web.send("/", cookie=cookie).status == 403


@pytest.mark.root
@with_links
def test_a_link_is_used_up_by_get_alone(web: Web) -> None:
    """What looks at a link before its owner does, by HEAD, does not use it up."""
    link = asked(web, BOB).removeprefix(URL)
    assert web.send(link, method="HEAD").status == 403
    assert web.send(link).status == 200


@pytest.mark.root
def test_links_are_off_by_default(web: Web) -> None:
    """Without [web] url a link is refused and no cookie counts, and carbon-acct says that there are none."""
    assert follow(web, asked(web, ALICE)).status == 403
    empty = web.config.with_name("other.conf")
    empty.write_text(web.config.read_text().replace(URL, ""))
    env = {"PATH": "/usr/bin:/bin", "CARBON_ACCT_CONF": str(empty)}
    command = [str(Path(sys.executable).parent / "carbon-acct"), "--web"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "carbon-acct: --web: [web] url is not set: this site takes no links to pages for a browser\n"


def test_an_old_link_is_gone(munge_socket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link says to munged how long it lives: after that it is 410, though it was never used."""
    import time

    from carbon_acct.errors import RefusedError

    made = munge.encode(web_link.payload(URL), munge_socket, 1)
    time.sleep(2.1)  # munged counts whole seconds by the clock of the machine
    with pytest.raises(RefusedError) as refused:
        Links(URL, munge_socket).uid_of_link(web_link.link(URL, made).partition("link=")[2])
    assert refused.value.status == 410
    assert web_link.LINK_S == 60


def test_sessions_end() -> None:
    """A session ends after its time; of one user the oldest goes when there are too many; a plain address has no Secure."""
    now = [0.0]
    links = Links("http://127.0.0.1:8000/c/", "", lambda: now[0])
    cookies = [links.cookie(7).partition(";")[0] for _ in range(MOST_OF_ONE + 1)]
    assert [links.uid_of_cookies(cookie) for cookie in cookies] == [None] + [7] * MOST_OF_ONE
    now[0] = SESSION_S - 1.0
    assert links.uid_of_cookies(cookies[-1]) == 7
    now[0] = SESSION_S + 1.0
    assert links.uid_of_cookies(cookies[-1]) is None
    assert links.cookie(7).endswith(f"; Path=/c/; Max-Age={SESSION_S}; HttpOnly; SameSite=Strict")
