# SPDX-License-Identifier: MIT
"""Mail to users: a real mail server on loopback, and a program that is killed in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from carbon_collector import settings
from carbon_reports import cli
from carbon_reports.mail import addresses, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage
    from pathlib import Path

    from conftest import Site

pytestmark = pytest.mark.slow
MONTH = ("--month", "2024-03")
HOSTILE = "eve\r\nBcc: all@example.org\r\n\r\n<script>"
USERS = ("alice", "bob", "carol", "dave", HOSTILE)


class Mailbox:
    """What a mail server took, and how it behaves: whom it refuses, and how long it takes."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.refused: dict[str, str] = {}
        self.slow_s = 0.0
        self.lost_at = -1
        self.only_one = False
        self.closes_after_s = 0.0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Accept a recipient, or refuse it."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Take a message."""
        if self.lost_at == len(self.taken):
            self.lost_at = -1
            raise ConnectionResetError
        self.taken += [(address, envelope.content) for address in envelope.rcpt_tos]
        await asyncio.sleep(self.slow_s)
        if self.only_one:
            asyncio.get_running_loop().call_later(self.closes_after_s, server.transport.close)
        return "250 taken"

    def messages(self) -> dict[str, EmailMessage]:
        """The messages by their recipients. Nobody has two."""
        assert len({address for address, _ in self.taken}) == len(self.taken)
        return {address: message_from_bytes(content, policy=default) for address, content in self.taken}  # type: ignore[misc]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_site: Callable[[Path], Site]) -> Path:
    """March of a site with four users and one whose name attacks headers; the folder of its configuration."""
    site = make_site(tmp_path_factory.mktemp("mail"))
    site.run("2024-02-10T10:00", "2024-02-10T15:00", user="alice")
    for n, user in enumerate(USERS):
        site.run(f"2024-03-{n + 1:02}T10:00", f"2024-03-{n + 1:02}T12:00", watts=100 * n + 100, user=user)
    site.save()
    return site.config.parent


@pytest.fixture
def mailbox() -> Mailbox:
    """An empty mailbox."""
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[Controller]:
    """A mail server without TLS on a free port."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=_free_port())
    controller.start()
    yield controller
    controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def configured(place: Path, folder: Path, port: int, **more: str) -> str:
    """A configuration of the site that mails to addresses in a file by a server on a port; its path."""
    known = folder / "addresses"
    known.write_text("# staff\n" + "".join(f"{user} {user}@example.org\n" for user in USERS[:4]), "utf-8")
    lines = {"smtp": f"127.0.0.1:{port}", "smtp_tls": "no", "mail_from": "carbon@example.org", "addresses": str(known)}
    lines |= {"output_dir": str(folder / "reports"), "url": "https://reports.example.org/carbon/", **more}
    text = (place / "carbon-acct.conf").read_text("utf-8").partition("[reports]")[0]
    path = folder / "carbon-acct.conf"
    path.write_text(text + "[reports]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()), "utf-8")
    return str(path)


def send(config: str, *words: str) -> int:
    """Run `carbon-report send` of March in this process; its exit status."""
    return cli.main(["--config", config, "send", *MONTH, *words])


def test_each_user_is_sent_the_own_month_once(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each user with an address gets one message about the own jobs alone, in text and HTML; a second run sends none."""
    config = configured(place, tmp_path, server.port)

    assert send(config) == 0
    assert send(config) == 0
    got = mailbox.messages()

    assert sorted(got) == [f"{user}@example.org" for user in sorted(USERS[:4])]
    assert "0 messages sent, 1 no address, 4 sent before" in capfd.readouterr().out
    for user in USERS[:4]:
        mail = got[f"{user}@example.org"]
        plain, page = (mail.get_body((kind,)) for kind in ("plain", "html"))
        assert plain is not None
        assert page is not None
        for text in (plain.get_content(), page.get_content()):
            assert f"https://reports.example.org/carbon/2024-03/users/{user}.html" in text
            assert "In March 2024 your jobs emitted" in text
            assert not any(other in text for other in USERS if other != user)
        assert mail["Auto-Submitted"] == "auto-generated"
    # Two hours of 100 W and of 400 W in the CPU, and a tenth of it in the memory.
    for user, used in (("alice", "220 Wh"), ("dave", "880 Wh")):
        plain = got[f"{user}@example.org"].get_body(("plain",))
        assert plain is not None
        assert f"Energy: {used} " in plain.get_content()


def test_a_kill_in_between_sends_nothing_twice(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a kill -9 each message was sent once, and the one that the server was taking then is named, not sent again."""
    config = configured(place, tmp_path, server.port)
    mailbox.slow_s = 0.6
    words = [sys.executable, "-m", "carbon_reports.cli", "--config", config, "send", *MONTH]
    running = subprocess.Popen(words, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while len(mailbox.taken) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    time.sleep(0.7)
    broken_off = [address for address, _ in mailbox.taken]
    mailbox.slow_s = 0.0

    assert send(config) == 1
    said = capfd.readouterr().err
    assert send(config) == 1

    assert len(broken_off) == 2
    assert sorted(mailbox.messages()) == [f"{user}@example.org" for user in sorted(USERS[:4])]
    assert f"user {broken_off[1].partition('@')[0]}: broken off" in said
    states = sent.states(tmp_path / "reports/.mail/2024-03.jsonl")
    assert sorted(states.values()) == ["begun", "sent", "sent", "sent"]


def test_a_refused_recipient_holds_nobody_up(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller, capfd: pytest.CaptureFixture[str]
) -> None:
    """A recipient that the server refuses is reported and not tried again; one that it defers is tried by the next run."""
    config = configured(place, tmp_path, server.port)
    mailbox.refused = {"alice@example.org": "550 no such user", "bob@example.org": "451 greylisted"}

    assert send(config) == 1
    said = capfd.readouterr()
    mailbox.refused = {}
    assert send(config) == 0

    assert "alice@example.org: refused by the server: 550 no such user" in said.err
    assert "bob@example.org: deferred by the server: 451 greylisted" in said.err
    assert sorted(mailbox.messages()) == ["bob@example.org", "carol@example.org", "dave@example.org"]
    assert send(config, "--to", "alice", "--again") == 0
    assert "alice@example.org" in mailbox.messages()


def test_a_dry_run_says_to_whom_and_sends_nothing(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller, capfd: pytest.CaptureFixture[str]
) -> None:
    """--dry-run prints a line for each user, with who opted out and who has no address, and leaves nothing behind."""
    (tmp_path / "out").write_text("bob  # by mail of 3 March\n", "utf-8")
    config = configured(place, tmp_path, server.port, opt_out=str(tmp_path / "out"))

    assert send(config, "--dry-run") == 0
    lines = [line.split("\t") for line in capfd.readouterr().out.splitlines()]

    assert ["alice", "alice@example.org", "send"] in lines
    assert ["bob", "bob@example.org", "wants no mail"] in lines
    assert len(lines) == len(USERS)
    assert [words[1:] for words in lines if words[0].startswith("eve\\r\\n")] == [["-", "no address"]]
    assert mailbox.taken == []
    assert not (tmp_path / "reports").exists()
    assert send(config) == 0
    assert sorted(mailbox.messages()) == [f"{user}@example.org" for user in ("alice", "carol", "dave")]


def test_names_with_line_breaks_add_no_header(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with line breaks, of a site or a user, becomes no header, no recipient and no element of HTML."""
    from carbon_reports.mail import send as module

    config = configured(place, tmp_path, server.port)
    monkeypatch.setattr(module, "site_name", lambda *_: "Sité\r\nBcc: all@example.org\n\n<script>")
    monkeypatch.setattr(module, "addresses", lambda *_: {HOSTILE: "eve@example.org"})

    assert send(config) == 0
    mail = mailbox.messages()["eve@example.org"]
    page = mail.get_body(("html",))

    assert mail["Bcc"] is None
    assert mail["To"] == "eve@example.org"
    assert mail["From"].addresses[0].display_name.startswith("Sité\\r\\n")
    assert "Bcc: all@example.org" in mail["From"].addresses[0].display_name
    assert page is not None
    assert "<script" not in page.get_content()
    for bad in ("a@b\r\nRCPT TO:<all@example.org>", "a@b\n", "a b@c", "<a@b>", "a@b>", "@b", "a@", "ä@b"):
        assert not addresses.is_address(bad)


# aiosmtpd does not know that the connection below is encrypted as a whole.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
@pytest.mark.parametrize("kind", ["starttls", "tls"])
def test_the_server_is_known_by_its_certificate(
    kind: str, place: Path, tmp_path: Path, mailbox: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """Over TLS the secret and the mail go to a server with a certificate that is trusted, and to no other."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "secret").chmod(0o600)
    seen: list[tuple[bytes, bytes]] = []

    def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        seen.append((data.login, data.password))
        return AuthResult(success=(data.login, data.password) == (b"carbon", b"s3cret"))

    more: dict[str, Any] = (
        {"ssl_context": context} if kind == "tls" else {"tls_context": context, "require_starttls": True}
    )
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=_free_port(), authenticator=login, auth_required=True,
        auth_require_tls=kind != "tls", **more,
    )  # fmt: skip
    controller.start()
    try:
        secret = {"smtp_user": "carbon", "smtp_secret": str(tmp_path / "secret"), "smtp_tls": kind}
        assert send(configured(place, tmp_path, controller.port, **secret)) == 1
        assert "certificate verify failed" in capfd.readouterr().err
        assert (mailbox.taken, seen) == ([], [])
        assert send(configured(place, tmp_path, controller.port, **secret, smtp_ca=str(tmp_path / "ca.pem"))) == 0
    finally:
        controller.stop()
    assert seen == [(b"carbon", b"s3cret")]
    assert len(mailbox.messages()) == 4


def test_a_server_that_is_away_leaves_all_to_the_next_run(
    place: Path, tmp_path: Path, mailbox: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a server the program ends with one line, and the next run sends everything."""
    config = configured(place, tmp_path, port := _free_port())

    assert send(config) == 1
    assert "0 of 4 messages were handed over; run this again" in capfd.readouterr().err
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        assert send(config) == 0
    finally:
        controller.stop()
    assert len(mailbox.messages()) == 4


@pytest.mark.parametrize("closes_after_s", [0.0, 0.002, 0.2])
def test_a_connection_that_is_lost_loses_and_doubles_nothing(
    closes_after_s: float,
    place: Path,
    tmp_path: Path,
    mailbox: Mailbox,
    server: Controller,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A server that takes one message a connection gets all; of the message in which it is lost, the outcome is called
    not known, and the others follow in the next run.
    """
    config = configured(place, tmp_path, server.port)
    mailbox.only_one, mailbox.closes_after_s, mailbox.lost_at = True, closes_after_s, 2

    assert send(config) == 1
    assert (
        "2 of 4 messages were handed over; it is not known whether the one to user carol was taken"
        in capfd.readouterr().err.replace("\n", " ")
    )
    assert send(config) == 1
    assert "user carol: broken off" in capfd.readouterr().err
    assert sorted(mailbox.messages()) == [f"{user}@example.org" for user in ("alice", "bob", "dave")]
    assert send(config, "--to", "carol", "--again") == 0
    assert "carol@example.org" in mailbox.messages()
    assert send(config) == 0


def test_without_an_address_of_pages_the_pdf_is_attached(
    place: Path, tmp_path: Path, mailbox: Mailbox, server: Controller
) -> None:
    """Where the site serves no pages, a user's PDF goes with the mail, if one was written."""
    pdf = tmp_path / "reports/2024-03/users/alice.pdf"
    pdf.parent.mkdir(parents=True)
    pdf.write_bytes(b"%PDF-1.7 alice")

    assert send(configured(place, tmp_path, server.port, url="")) == 0
    got = mailbox.messages()

    attached = {address: [part.get_content() for part in mail.iter_attachments()] for address, mail in got.items()}
    assert attached.pop("alice@example.org") == [b"%PDF-1.7 alice"]
    assert list(attached.values()) == [[], [], []]


def test_a_torn_line_is_no_message(tmp_path: Path) -> None:
    """A line that a kill left torn is cut off; a line that cannot be read stops all, because it may hide a message."""
    path = tmp_path / "2024-03.jsonl"
    with sent.opened(path) as first:
        first.note("alice", sent.SENT, 1)
        with pytest.raises(sent.SentError, match="another carbon-report"), sent.opened(path):
            pass
    with path.open("ab") as file:
        file.write(b'{"user": "bob", "sta')
    with sent.opened(path) as again:
        assert again.states == {"alice": "sent"}
        again.note("bob", sent.BEGUN, 2)
    assert sent.states(path) == {"alice": "sent", "bob": "begun"}
    assert [json.loads(line)["user"] for line in path.read_text().splitlines()] == ["alice", "bob"]
    path.write_text("what\n")
    with pytest.raises(sent.SentError, match="line 1 cannot be read"):
        sent.states(path)


def test_whatever_a_crash_leaves_of_the_file_nobody_is_mailed_twice(tmp_path: Path) -> None:
    """Cut at any byte, the file still names each user whose message may have begun, and goes on from there."""
    path = tmp_path / "2024-03.jsonl"
    with sent.opened(path) as all_of_it:
        for user in ("alice", "bob", "kim"):
            all_of_it.note(user, sent.BEGUN, 1)
            all_of_it.note(user, sent.SENT, 2, "250 2.0.0 Ok")
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = [json.loads(line) for line in data[: data[:cut].rfind(b"\n") + 1].splitlines()]
        with sent.opened(path) as left:
            assert left.states == {entry["user"]: entry["state"] for entry in whole}
            left.note("zoe", sent.BEGUN, 3)
        assert sent.states(path)["zoe"] == sent.BEGUN


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("smtp = ", "no mail server"),
        ("smtp = mail:70000", "no mail server"),
        ("smtp = mail example", "no mail server"),
        ("mail_from = nobody", "no address"),
        ("smtp_user = me", "belong together"),
        ("addresses = /nowhere", "cannot be read"),
    ],
)
def test_what_is_set_wrongly_is_said(
    line: str, said: str, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be used ends the program with one line that names it, before anything is sent."""
    key, _, value = line.partition(" = ")
    assert send(configured(place, tmp_path, 1, **{key: value})) == 1
    err = capfd.readouterr().err
    assert said in err
    assert f"[reports] {key}" in err


def test_addresses_are_those_of_slurm_where_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file each user that sacctmgr lists has an address at slurm.conf's MailDomain."""
    from carbon_acct.slurm.programs import Programs

    for name, text in {"scontrol": "MailDomain = hpc.example.org", "sacctmgr": "alice|\nbob|\n"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "conf").write_text("[site]\n")
    found = addresses.addresses(settings.load(str(tmp_path / "conf")), Programs(search=(str(tmp_path),)))
    assert found == {"alice": "alice@hpc.example.org", "bob": "bob@hpc.example.org"}
