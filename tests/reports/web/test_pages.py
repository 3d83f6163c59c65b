# SPDX-License-Identifier: MIT
"""The pages: who is let in, who sees what, the command of each view, hostile names, headers, and that nothing writes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from accounting.api.test_api import ALICE, ANNA, BOB, NAMES, OPERATOR, get
from accounting.served import wait_for
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.days import Days, zone_info
from carbon_acct.queries.usage import Figures, Usage, UsageRow
from carbon_acct.sums.day_sum import ROLLED
from carbon_collector.errors import CarbonError
from carbon_reports.web import cli
from carbon_reports.web.asked import Asked
from carbon_reports.web.serve import STRANGER_S, listener_of
from carbon_reports.web.sums import Kind, table

from .conftest import Web

if TYPE_CHECKING:
    from accounting.slurm_programs import StandIn

    from .conftest import Page

DAY = "2012-10-11"  # in UTC it is the 12th
MONTH = "2012-10"
PAGES = ("./?year=2012", f"month?month={MONTH}", f"day?day={DAY}", "job?id=1", f"accounts?month={MONTH}",
         f"account?name=physics&month={MONTH}")  # fmt: skip
CSP = "default-src 'none'; style-src 'self'; img-src 'self'"
ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\nX-Remote-User: alice\\r\\nConnection: close\\r\\n\\r\\n")
print(s.makefile("rb").read().decode())
"""


def test_who_is_let_in(web: Web) -> None:
    """The proxy's word counts when it names one user that Slurm knows, once. Nobody, two, a stranger, root: 403."""
    assert web.get("", "alice").status == 200
    refused: list[list[str]] = [
        [], [""], [" "], ["alice", "alice"], ["alice", "bob"], ["alice,bob"], ["alice bob"], ["ALICE"], ["alice@SITE"],
        ["nobody-at-all"], ["carl"], ["root"], [str(ALICE)], ["daemon"], ["x" * 5000],
    ]  # fmt: skip
    for named in refused:
        for target in ("/", "/month", "/nowhere", "/style.css"):
            page = web.send(target, named)
            assert page.status == 403, (named, target)
            assert "alice" not in page.text
            assert CSP in page.headers["content-security-policy"]


@pytest.mark.root
def test_another_peer(web: Web) -> None:
    """The header of a process that is not the proxy's counts for nothing, though it may connect."""
    for uid, status in ((ALICE, 403), (os.geteuid(), 200)):
        done = subprocess.run(
            ["/usr/bin/python3", "-c", ASK, web.socket],
            capture_output=True,
            text=True,
            check=True,
            user=uid,
            timeout=60,
        )
        assert done.stdout.startswith(f"HTTP/1.1 {status} "), done.stdout


@pytest.mark.root
def test_a_peer_that_sends_nothing(web: Web) -> None:
    """A connection of another process than the proxy's is closed after a while, so that nobody can hold all of them."""
    ask = ASK.replace("s.sendall(", "(lambda _: None)(")
    started = time.monotonic()
    subprocess.run(
        ["/usr/bin/python3", "-c", ask, web.socket], check=False, capture_output=True, user=ALICE, timeout=30
    )
    assert STRANGER_S <= time.monotonic() - started < 20


def test_until_slurm_has_answered(web: Web) -> None:
    """While it is not known whom Slurm knows, nobody is let in, and the answer says to try again."""
    from carbon_acct.slurm.state import SlurmState

    web.knowledge.state = SlurmState()
    page = web.get("", "alice")
    assert page.status == 503
    assert page.headers["retry-after"] == "5"


def crawl(web: Web, user: str) -> dict[str, Page]:
    """Every page that links lead a user to, from the pages of the month, and every job by its number."""
    found: dict[str, Page] = {}
    todo = [*PAGES, "job?id=2", "job?id=3", f"account?name=qcd&month={MONTH}", f"account?name=bio&month={MONTH}"]
    while todo and len(found) < 80:
        target = todo.pop(0)
        if target not in found:
            found[target] = web.get(target, user)
            todo += [link for link in found[target].links if "2012" in link or "job" in link]
    return found


SECRETS = {"alice": ["alert(1)"], "bob": ["bobs-secret", "3000"], "carl": ["carls-secret"]}
"""What of each user's job no page of somebody who may not see it may hold: its name, and bob's exact energy."""


@pytest.mark.parametrize("private", ["none", "jobs", "all", "usage,users"])
def test_nobody_sees_more_than_the_api_shows(web: Web, slurm: StandIn, private: str) -> None:
    """On every page that a user can reach there is no byte of a job that GET /v1/jobs does not show that user."""
    web.private(slurm, private)
    for uid in (ALICE, BOB, ANNA, OPERATOR):
        user = NAMES[uid]
        shown = {job["user"] for job in get(web.served, "/v1/jobs?all_users=1", uid)[1]["jobs"]}
        summed = get(web.served, f"/v1/usage?month={MONTH}&by=user&all_users=1", uid)[1]["rows"]
        assert {row["key"]["user"] for row in summed} == shown
        pages = crawl(web, user)
        assert len(pages) >= 15
        for owner, job_id in (("alice", 1), ("bob", 2), ("carl", 3)):
            case = (private, user, owner)
            assert pages[f"job?id={job_id}"].status == (200 if owner in shown else 404), case
            if owner in shown:
                continue
            for target, page in pages.items():
                for secret in [*SECRETS[owner], *[f">{owner}<", f" {owner} "] * (owner != user)]:
                    assert secret not in page.text, (*case, target, secret)
        own = {"1": ALICE, "2": BOB}
        listed = set(pages[f"day?day={DAY}"].rows())
        assert listed == {job for job, owner_uid in own.items() if owner_uid == uid and user in shown}


def test_hidden_and_never(web: Web, slurm: StandIn) -> None:
    """The page of a job that one may not see is, byte by byte, the page of one that never was."""
    web.private(slurm, "jobs")
    assert web.get("job?id=2", "alice").text == web.get("job?id=99", "alice").text
    assert web.get("job?id=2", "alice").status == 404
    hidden, never = (web.get(f"account?name={name}&month={MONTH}", "alice").text for name in ("bio", "xyz"))
    assert hidden.replace("bio", "xyz") == never


def run_command(web: Web, page: Page, uid: int) -> dict[str, Any]:
    """What the page's command answers to its user, as JSON."""
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "CARBON_ACCT_CONF": str(web.config)}
    done = subprocess.run(
        f"{page.command} --json",
        check=False,
        shell=True,
        capture_output=True,
        text=True,
        env=env,
        user=uid,
        cwd="/",
        timeout=60,
    )
    assert done.returncode == 0, (page.command, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def number(value: Any) -> int | None:
    return None if value is None else int(value)


@pytest.mark.root
@pytest.mark.parametrize("private", ["none", "jobs"])
@pytest.mark.parametrize("uid", [ALICE, ANNA, OPERATOR])
def test_the_same_as_the_command(web: Web, slurm: StandIn, private: str, uid: int) -> None:
    """The command that a view shows gives its user the rows and figures of the view, to the microjoule."""
    web.private(slurm, private)
    compared = 0
    for target in (*PAGES, f"day?day={DAY}&state=FAILED", f"month?month={MONTH}&sort=energy"):
        page = web.get(target, NAMES[uid])
        if page.status == 404:
            continue
        answer = run_command(web, page, uid)
        if "rows" in answer:
            expected = {}
            for row in answer["rows"]:
                figures = row["figures"]
                values = [number(figures[name]) for name in ("jobs", "energy_uj", "estimated_uj", "carbon_ug")]
                assert values.pop(2) is None  # nothing is estimated here, and a column for that is left out
                expected[next(iter(row["key"].values())) or "none"] = values
            found = page.rows()
            found.pop("all", None)
            assert found == expected, target
        elif target.startswith("day"):
            expected = {job["job_id"]: [None, job["energy_uj"], job["carbon_ug"]] for job in answer["jobs"]}
            assert page.rows() == expected, target
        else:
            (job,) = answer["jobs"]
            terms = dict(re.findall(r'<dt>([^<]*)</dt><dd><data value="(\d+)">', page.text))
            assert int(terms["Energy"]) == job["energy_uj"]
            assert int(terms["Carbon, location-based"]) == job["carbon_ug"]
            assert int(terms["of it CPU"]) == job["cpu_uj"]
        compared += 1
    assert compared >= 6


def test_estimated_energy_is_told_apart() -> None:
    """Where energy was estimated the table has a column for it beside the sum; what is not known is never 0."""
    rows = {
        "a": {"energy_uj": 5_000_000, "estimated_uj": 7_000_000, "carbon_ug": 3},
        "b": {"energy_uj": None, "estimated_uj": 1_000_000, "carbon_ug": None},
        "c": {"energy_uj": None, "estimated_uj": None, "carbon_ug": None},
    }
    found: list[UsageRow] = []
    whole = Figures()
    for key, values in rows.items():
        figures = Figures()
        figures.add(dict.fromkeys(ROLLED) | {"state": None, "jobs": 1, "once": 1, "simulated": False} | values)
        whole.merge(figures)
        found.append(UsageRow((key,), figures))
    asked = Asked(EVERYTHING, {}, 0, Days(zone_info("UTC")), "")
    made = table(asked, Usage(("day",), found, None, 0, UsageRow((), whole)), Kind("Day", str, str))
    assert [head.text for head in made.heads][3] == "of it estimated, kWh"
    exact = [[cell.exact for cell in row[1:]] for row in [*made.rows, made.total]]
    assert exact == [
        [1, 12_000_000, 7_000_000, 3],
        [1, 1_000_000, 1_000_000, None],
        [1, None, None, None],
        [3, 13_000_000, 8_000_000, 3],
    ]
    assert [cell.text for cell in made.rows[2][2:]] == ["–", "–", "–"]


def test_job_page(web: Web) -> None:
    """The page of a job says coverage in percent, and its numbers without escapes."""
    page = web.get("job?id=1", "alice")
    assert re.search(r"<dt>Coverage</dt><dd>100.0 %</dd>", page.text)
    assert "\\u" not in page.text.replace("\\u202e", "")


def test_sorted_by_links(web: Web) -> None:
    """A sorted table is a link, and its rows are in that order."""
    page = web.get(f"account?name=physics&month={MONTH}", "op")
    target = f"accounts?month={MONTH}&sort=energy"
    assert target in web.get(f"accounts?month={MONTH}", "op").links
    names = list(web.get(target, "op").rows())
    assert names == ["qcd", "bio", "physics", "all"]
    assert list(web.get(f"accounts?month={MONTH}", "op").rows()) == ["bio", "physics", "qcd", "all"]
    assert list(page.rows()) == ["alice", "all"]


def test_pages_of_a_day(web: Web, monkeypatch: pytest.MonkeyPatch, slurm: StandIn) -> None:
    """The pages of a day hold each job once, and the last one has no link to more."""
    from carbon_reports.web import jobs

    slurm.jobs([{"JobIDRaw": f"{n}", "JobID": f"{n}", "User": "alice", "UID": f"{ALICE}"} for n in range(100, 107)])
    web.served.poller.poll(thorough=True)
    monkeypatch.setattr(jobs, "MOST", 3)
    seen: list[str] = []
    target = f"day?day={DAY}"
    while target:
        page = web.get(target, "alice")
        seen += page.rows()
        target = next((link for link in page.links if "after=" in link), "")
    assert seen == ["1", *(f"{n}" for n in range(100, 107))]


def test_hostile_names(web: Web) -> None:
    """A name with markup, escape sequences and marks of direction is text on the page."""
    for target in (f"day?day={DAY}", "job?id=1"):
        page = web.get(target, "alice")
        assert "&lt;/code&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "<script" not in page.text
        assert "\x1b" not in page.text
        assert "\u202e" not in page.text
    page = web.get("account?name=%3Cscript%3E%22%27%24(id)&month=2012-10", "alice")
    assert "<script" not in page.text
    assert page.command == "carbon-acct -a -A '<script>\"'\"'\"'$(id)' --month 2012-10 --by user"
    assert "Demo &amp; &lt;Sons&gt;" in page.text


BAD = (
    "nowhere", "?year=1", "?year=99999", "?year=x", "month?month=2012-13", "month?month=../..", "day", "day?day=2012-02-30",
    "day?day=x", f"day?day={DAY}&after=x", f"day?day={DAY}&state=NONSENSE", "job", "job?id=x", "job?id=" + "1" * 300, "account",
    f"accounts?month={MONTH}&sort=name",
)  # fmt: skip


def test_every_answer_has_the_headers(web: Web) -> None:
    """Pages, the style sheet, errors and what is no HTTP: all say what a browser may load, and that nothing is kept."""
    answers = [web.get(target, "alice") for target in (*PAGES, "style.css", "icon.svg", *BAD)]
    answers += [web.send("/", ["alice"], method) for method in ("POST", "PUT", "DELETE", "HEAD")]
    for page in answers:
        assert page.headers["content-security-policy"].startswith(CSP)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "style=" not in page.text
        assert "<style" not in page.text
    assert [page.status for page in answers[: len(PAGES) + 2]] == [200] * (len(PAGES) + 2)
    assert {web.get(target, "alice").status for target in BAD} == {400, 404}
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(web.socket)
        raw.sendall(b"tea\r\n\r\n")
        head = raw.makefile("rb").read()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert CSP.encode() in head


def test_nothing_writes(web: Web) -> None:
    """Whatever is not GET or HEAD is 405."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        page = web.send("/", ["alice"], method)
        assert page.status == 405
        assert "GET" in page.headers["allow"]


def test_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without [web] proxy_user it does not start, and says which setting it misses; a user that is none is named."""
    path = tmp_path / "carbon-acct.conf"
    for value, said in (("", "carbon-web is off: [web] proxy_user"), ("no-such-user", "there is no such user")):
        path.write_text(f"[web]\nproxy_user = {value}\n")
        assert cli.main(["--config", str(path)]) != 0
        assert said in capsys.readouterr().err


def test_socket(tmp_path: Path) -> None:
    """A socket that a killed process left is replaced; one at which somebody listens, or another file, is not."""
    path = str(tmp_path / "web.sock")
    listener_of(path).close()
    with listener_of(path), pytest.raises(CarbonError, match="cannot listen"):
        listener_of(path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CarbonError, match="cannot listen"):
        listener_of(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.slow
def test_the_process(web: Web, tmp_path: Path) -> None:
    """The program takes its socket from systemd, answers 503 until its Slurm answers, and ends in order at SIGTERM."""
    config = tmp_path / "carbon-acct.conf"
    config.write_text(web.config.read_text() + "[web]\nproxy_user = root\n")
    path = str(tmp_path / "s")
    start = ["systemd-socket-activate", f"--listen={path}", "-E", "SLURM_CONF=/nonexistent"]
    program = [sys.executable, "-m", "carbon_reports.web.cli", "--config", str(config)]
    environment = os.environ | {"SLURM_CONF": "/nonexistent"}
    with subprocess.Popen([*start, *program], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: Path(path).exists())
            page = Web(path, config, web.knowledge, web.served).get("", "alice")
            assert page.status == 503
            assert page.headers["content-security-policy"].startswith(CSP)
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[1]
    assert process.returncode in (0, -signal.SIGTERM), said
    assert "Traceback" not in said
    assert "refused: Slurm has not said yet whom it knows" in said
