# SPDX-License-Identifier: MIT
"""carbon-web on a Unix socket, over a database that a real aggregator with a real munged filled.

It is an SQLite database: the pages ask by the code behind the HTTP API, which has its tests on each kind of database.
"""

from __future__ import annotations

import http.client
import os
import pwd
import re
import socket
import tempfile
import threading
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from accounting.api.test_api import BOB, NAMES, ROWS, TREE, deliver
from accounting.conftest import munge_socket, poller, served, slurm
from accounting.db.fixtures import Backend
from accounting.samples import configure, job_slot, ledger, node_slot, segment
from accounting.served import wait_for
from carbon_acct.factors.slot_factor import load_terms
from carbon_collector import settings
from carbon_reports.web import serve
from carbon_reports.web.app import create_app
from carbon_reports.web.knowledge import Knowledge
from carbon_reports.web.place import Place
from carbon_reports.web.read_only import open_read_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from accounting.served import Served
    from accounting.slurm_programs import StandIn
    from carbon_acct.site import Site

__all__ = ["munge_socket", "poller", "served", "slurm"]

HEADER = "X-Remote-User"
URL = "https://cluster.example.org/carbon"
"""What browsers are said to find carbon-web at, for links."""
ZONE = "America/New_York"
"""The site's zone is not that in which the tests run: its days are others."""
USERS = "op|Operator|\nanna|None|physics\nalice|None|\nbob|None|\n"
HOSTILE = "</code><script>alert(1)</script>\x1b[31m\u202e"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("web", timeout=60)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


@dataclass
class Page:
    """An answer: its status, headers and text."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def command(self) -> str:
        """The command that the page says is the same."""
        found = re.search(r'<code class="command">(.*?)</code>', self.text)
        assert found, self.text
        return unescape(found[1])

    @property
    def links(self) -> list[str]:
        """Where it leads."""
        return [unescape(href) for href in re.findall(r'<a href="([^"]*)"', self.text)]

    def rows(self) -> dict[str, list[int | None]]:
        """The header of each row of the table -> the exact values of its numbers; None where one is not known."""
        found = {}
        for row in re.findall(r'<tr[^>]*><th scope="row">(.*?)</tr>', self.text):
            head, _, rest = row.partition("</th>")
            cells = re.findall(r'<td class="n">(.*?)</td>', rest)
            exact = [re.search(r'<data value="(-?\d+)">', cell) for cell in cells]
            found[unescape(re.sub(r"<[^>]+>", "", head))] = [int(one[1]) if one else None for one in exact]
        return found


@dataclass
class Web:
    """carbon-web, and the Slurm whose rights it knows."""

    socket: str
    config: Path
    knowledge: Knowledge
    served: Served
    seen: list[str] = field(default_factory=list)

    def send(self, target: str, named: Sequence[str] = (), method: str = "GET", cookie: str = "") -> Page:
        """Send a request as the proxy, with any number of user headers, and a cookie if there is one."""
        connection = UnixConnection(self.socket)
        try:
            connection.putrequest(method, target)
            for name in named:
                connection.putheader(HEADER, name)
            if cookie:
                connection.putheader("Cookie", cookie)
            connection.endheaders()
            answer = connection.getresponse()
            return Page(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read().decode("utf-8", "replace"),
            )
        finally:
            connection.close()

    def get(self, target: str, user: str) -> Page:
        """A page for a user that the proxy signed in."""
        return self.send(f"/{target.removeprefix('./')}", [user])

    def private(self, slurm: StandIn, private: str) -> None:
        """Set PrivateData, and have the aggregator and carbon-web know it."""
        slurm.rights(private=private, users=USERS, tree=TREE)
        self.served.poller.poll(thorough=True)
        assert self.knowledge.refresh()


@pytest.fixture
def site(fresh_database: Path) -> Iterator[Site]:
    """A site with a fresh database."""
    with Backend(fresh_database).site(site_timezone=ZONE) as found:
        yield found


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users that this host's name service knows; the name service is not ours."""
    by_id, by_name = pwd.getpwuid, pwd.getpwnam
    ids = {name: uid for uid, name in NAMES.items()}

    def entry(name: str, uid: int) -> Any:
        return type("Entry", (), {"pw_name": name, "pw_uid": uid})

    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry(NAMES[uid], uid) if uid in NAMES else by_id(uid))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry(name, ids[name]) if name in ids else by_name(name))


@pytest.fixture
def filled(served: Served, slurm: StandIn, people: None) -> Served:
    """A job each of alice, bob and carl; alice's has a hostile name, bob's failed and used three times as much."""
    changes: dict[str, dict[str, str]] = {
        "alice": {"JobName": HOSTILE},
        "bob": {"State": "FAILED", "JobName": "bobs-secret"},
        "carl": {"JobName": "carls-secret"},
    }
    slurm.jobs([row | changes[row["User"]] for row in ROWS])
    served.poller.poll(thorough=True)
    records: list[Any] = [node_slot()]
    for row in ROWS:
        job_id, uid = int(row["JobID"]), int(row["UID"])
        records.append(ledger(job_id=job_id, uid=uid, user=row["User"]))
        parts = {
            "cpu": {
                "energy_uj": 1000 + 2000 * (uid == BOB),
                "static_uj": 1,
                "metered_us": 60_000_000,
                "method": "counter",
            }
        }
        records.append(job_slot(parts, job_id=job_id, cpu_us=0))
    assert deliver(served, segment(records))[1]["refused"] == []
    return served


@pytest.fixture
def look() -> dict[str, str]:
    """The settings of `[reports]` with which carbon-web starts: none."""
    return {}


@pytest.fixture
def web(
    request: pytest.FixtureRequest, filled: Served, slurm: StandIn, look: dict[str, str], tmp_path: Path
) -> Iterator[Web]:
    """carbon-web, whose proxy runs as the user of this test; with the parameter `links` it takes links."""
    url = filled.site.database.engine.url.render_as_string(hide_password=False)
    with tempfile.TemporaryDirectory(prefix="carbon-web-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = configure(
            folder,
            site_timezone=ZONE,
            aggregator_database=url,
            collector_aggregators=filled.url,
            slurm_munge_socket=filled.munge_socket,
            web_url=URL,
            **look,
        )
        path.chmod(0o644)
        config = settings.load(str(path))
        database = open_read_only(config)
        knowledge = Knowledge(slurm.programs)
        terms, _ = load_terms(config)
        links = serve.links_of(config) if getattr(request, "param", "") == "links" else None
        place = Place(
            database, knowledge, terms.days, "Demo & <Sons>", "demo", os.geteuid(), HEADER, links, serve.look_of(config)
        )
        found = Web(f"{folder}/web.sock", path, knowledge, filled)
        found.private(slurm, "none")
        listener = serve.listener_of(found.socket)
        server = uvicorn.Server(serve.options(create_app(place), place.proxy_uid))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield found
        finally:
            server.should_exit = True
            thread.join(20)
            listener.close()
            database.close()
