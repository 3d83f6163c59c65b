# SPDX-License-Identifier: MIT
"""Hands messages to the site's mail server. It is the only module that speaks SMTP.

A step that fails before the server has the message leaves no doubt that it was not sent; `begin` is called in between.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from carbon_acct.errors import ProviderError
from carbon_acct.grid.secret import read_token
from carbon_collector.errors import CarbonError, SettingsError

from .addresses import is_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from carbon_collector.settings import Settings

TIMEOUT_S = 60.0
HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?", re.ASCII)
CLOSING = 421
"""The code with which a server ends a connection (RFC 5321, 3.8)."""

PORTS = {"starttls": 587, "tls": 465, "no": 25}


class MailError(CarbonError):
    """The mail server cannot be used, or was lost."""


class Account(NamedTuple):
    """The mail server, how it is spoken to, and as whom."""

    host: str
    port: int
    tls: str
    ca: str
    user: str
    secret: str
    sender: str


class Answer(NamedTuple):
    """The server's answer to a message: a code of SMTP (250: it took the message) and its text."""

    code: int
    text: str


def account(settings: Settings) -> Account:
    """Return the mail server of [reports]. Raises SettingsError."""
    get = {
        key: settings.text("reports", key)
        for key in ("smtp", "smtp_tls", "smtp_ca", "smtp_user", "smtp_secret", "mail_from")
    }
    found = HOST.fullmatch(get["smtp"])
    if found is None or int(found["port"] or 1) not in range(1, 1 << 16):
        raise SettingsError(f"[reports] smtp = {get['smtp']}: no mail server; it looks like mail.example.org:587")
    if not is_address(get["mail_from"]):
        raise SettingsError(f"[reports] mail_from = {get['mail_from']}: no address; mail needs a sender")
    if bool(get["smtp_user"]) != bool(get["smtp_secret"]):
        raise SettingsError("[reports] smtp_user and smtp_secret belong together; one of them is not set")
    if get["smtp_user"] and get["smtp_tls"] == "no":
        raise SettingsError("[reports] smtp_tls = no: a secret is not sent in clear; use starttls or tls")
    try:
        secret = read_token(Path(get["smtp_secret"])) if get["smtp_secret"] else ""
    except ProviderError as err:
        raise SettingsError(f"[reports] smtp_secret: {err}") from err
    host, port = found["six"] or found["host"], int(found["port"] or PORTS[get["smtp_tls"]])
    return Account(host, port, get["smtp_tls"], get["smtp_ca"], get["smtp_user"], secret, get["mail_from"])


class Server:
    """A connection to the mail server, made when it is first needed."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._smtp: smtplib.SMTP | None = None

    def send(self, address: str, message: bytes, begin: Callable[[], None]) -> Answer:
        """Hand over a message and return the server's answer. `begin` is called before the server gets the message.

        Raises MailError where the server is lost. If `begin` was called, nobody knows whether it took the message.
        """
        try:
            smtp, refused = self._addressed(address)
            if refused is not None:
                return refused
            begin()
            return _answer(*smtp.data(message))
        except smtplib.SMTPDataError as err:
            return _answer(err.smtp_code, err.smtp_error)
        except (OSError, smtplib.SMTPException) as err:
            self.close()
            raise MailError(f"mail server {self._account.host}:{self._account.port}: {_why(err)}") from err

    def close(self) -> None:
        """End the connection."""
        if self._smtp is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
            self._smtp.close()
            self._smtp = None

    def _addressed(self, address: str) -> tuple[smtplib.SMTP, Answer | None]:
        """Begin a message, and return the connection and the server's refusal, if it refuses.

        A server may end a connection between two messages: then a new one is made.
        """
        if self._smtp is not None:
            try:
                self._smtp.rset()
                return self._smtp, self._envelope(self._smtp, address)
            except (OSError, smtplib.SMTPException):
                self.close()
        self._smtp = self._connected()
        return self._smtp, self._envelope(self._smtp, address)

    def _envelope(self, smtp: smtplib.SMTP, address: str) -> Answer | None:
        for ask, of in ((smtp.mail, self._account.sender), (smtp.rcpt, address)):
            code, text = ask(of)
            if code == CLOSING:
                raise smtplib.SMTPServerDisconnected(f"{code} {_answer(code, text).text}")
            if code not in (250, 251):
                return _answer(code, text)
        return None

    def _connected(self) -> smtplib.SMTP:
        of = self._account
        if of.tls == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(of.host, of.port, timeout=TIMEOUT_S, context=_context(of.ca))
        else:
            smtp = smtplib.SMTP(of.host, of.port, timeout=TIMEOUT_S)
        try:
            if of.tls == "starttls":
                smtp.starttls(context=_context(of.ca))
            smtp.ehlo_or_helo_if_needed()
            if of.user:
                smtp.login(of.user, of.secret)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _context(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca or None)


def _answer(code: int, text: bytes | str) -> Answer:
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return Answer(code, " ".join(shown.split())[:300])


def _why(err: Exception) -> str:
    if isinstance(err, smtplib.SMTPResponseException):
        return f"{err.smtp_code} {_answer(0, err.smtp_error).text}"
    return " ".join(str(err).split()) or type(err).__name__
