# SPDX-License-Identifier: MIT
"""Writes the message to a user: his month as text and as HTML of one screen, with a link to his page or its PDF.

No text of others can add a header: what does not print is written as an escape, and addresses are checked.
"""

from __future__ import annotations

import hashlib
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from carbon_acct.client.safe_text import visible

from ..change import change
from ..history import Amounts
from ..pages import render
from ..part_page import cards
from ..sentences import emitted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..period import Period
    from ..sums import Share, Total

MOST_ACCOUNTS = 5
"""The accounts that a message lists: it is one screen."""


class Month(NamedTuple):
    """What all messages of a month share."""

    period: Period
    then: Period
    site: str
    currency: str
    provisional: Sequence[str]
    contact: str
    templates: str
    sender: str


class Letter(NamedTuple):
    """A user's month: sums, those of the month before, accounts, and where the page or its PDF is, if anywhere."""

    user: str
    total: Total
    before: Amounts
    accounts: Sequence[Share]
    page: str
    pdf: Path | None


def message(month: Month, letter: Letter, address: str, now: int) -> bytes:
    """Return the message in the form that SMTP carries: ASCII, whatever names are in it. Raises PageError and OSError."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address(visible(month.site), addr_spec=month.sender)
    mail["To"] = Address(addr_spec=address)
    mail["Subject"] = visible(f"Energy and carbon of your jobs, {month.period.title}")
    mail["Date"] = format_datetime(month.period.local(now))
    mail["Message-ID"] = _identity(month, letter.user)
    mail["Auto-Submitted"] = "auto-generated"
    shown = _shown(month, letter)
    mail.set_content(render("mail.txt.j2", shown, month.templates), cte="quoted-printable")
    mail.add_alternative(render("mail.html.j2", shown, month.templates), subtype="html", cte="quoted-printable")
    if letter.pdf is not None:
        name = f"{month.period.name}.pdf"
        mail.add_attachment(letter.pdf.read_bytes(), maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


def _identity(month: Month, user: str) -> str:
    """Return the Message-ID: the same whenever the message to a user about a month is sent, so that it can be recognized."""
    text = "\0".join((month.site, month.period.name, user)).encode("utf-8", "surrogatepass")
    return f"<{month.period.name}.{hashlib.sha256(text).hexdigest()[:24]}@{month.sender.partition('@')[2]}>"


def _shown(month: Month, letter: Letter) -> dict[str, Any]:
    total = letter.total
    amounts = Amounts(
        energy_uj=total.energy_uj,
        estimated_uj=total.estimated_uj,
        facility_uj=total.facility_uj,
        carbon_ug=total.carbon_ug,
        market_ug=total.market_ug,
    )
    lead = emitted(month.period, month.then, "your jobs", amounts, change(letter.before, amounts))
    return {
        "title": month.period.title,
        "site": month.site,
        "user": letter.user,
        "lead": lead,
        "plain_lead": lead.striptags(),
        "cards": cards(total, amounts, letter.before, month.then, month.currency),
        "accounts": letter.accounts[:MOST_ACCOUNTS] if len(letter.accounts) > 1 else [],
        "others": max(0, len(letter.accounts) - MOST_ACCOUNTS),
        "provisional": month.provisional,
        "simulated": total.simulated,
        "page": letter.page,
        "attached": letter.pdf is not None,
        "contact": month.contact,
        "start": month.period.first.isoformat(),
        "after": month.period.after.isoformat(),
    }
