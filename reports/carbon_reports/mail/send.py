# SPDX-License-Identifier: MIT
"""Sends the users of a month their mail, each once, and goes on where it was broken off.

A message is sent at most once: the one that the server may or may not have taken when the program was killed is named,
and not sent again unless somebody asks for it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from carbon_acct.cli import warn
from carbon_acct.client.safe_text import visible
from carbon_acct.slurm.programs import Programs
from carbon_collector.errors import UsageError

from .. import drawings, sums
from ..about import site_name
from ..facts import Most, open_existing, read_period
from ..history import Amounts
from ..money import prices
from ..publish import file_stem
from . import sent
from .addresses import addresses, is_address, opted_out
from .message import Letter, Month, message
from .server import MailError, Server, account

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from carbon_collector.settings import Settings

    from ..facts import Facts
    from ..period import Period

PROGRAM = "carbon-report"
FOLDER = ".mail"
"""The folder, beside the reports, of what was sent."""

SEND, OUT, NOWHERE = "send", "wants no mail", "no address"
DONE = {sent.SENT: "sent before", sent.REFUSED: "refused before", sent.BEGUN: "not known whether it was sent"}


class Wish(NamedTuple):
    """To whom to send: all users or some; whether also to those who were sent one; whether only to say so."""

    users: Collection[str]
    again: bool
    dry_run: bool


class Planned(NamedTuple):
    """A user's letter, its address, and what is to become of it."""

    letter: Letter
    address: str
    what: str


def send(settings: Settings, period: Period, output: Path, wish: Wish, now: int) -> int:
    """Send the mail of a month and return the exit status: 1 where a message was not sent that should have been.

    Raises CarbonError where nothing more can be sent.
    """
    if period.end > now:
        raise UsageError(f"--month {period.name} is not over; what is mailed cannot be taken back")
    whom, out = addresses(settings, Programs()), opted_out(settings)
    server = None if wish.dry_run else account(settings)
    month, letters = _letters(settings, period, output, now)
    strangers = sorted(set(wish.users) - {letter.user for letter in letters})
    if strangers:
        raise UsageError(f"--to {','.join(strangers)}: no jobs in {period.name}")
    chosen = [letter for letter in letters if not wish.users or letter.user in wish.users]
    path = output / FOLDER / f"{period.name}.jsonl"
    if server is None:
        for planned in _planned(chosen, whom, out, sent.states(path), wish.again):
            print("\t".join((visible(planned.letter.user), planned.address or "-", planned.what)))
        return 0
    with sent.opened(path) as done, _closing(Server(server)) as connection:
        return _send_all(_planned(chosen, whom, out, done.states, wish.again), connection, done, month)


def _planned(
    letters: Collection[Letter], whom: dict[str, str], out: Collection[str], states: dict[str, str], again: bool
) -> list[Planned]:
    found = []
    for letter in letters:
        address, state = whom.get(letter.user, ""), states.get(letter.user, "")
        if letter.user in out:
            what = OUT
        elif not is_address(address):
            address, what = "", NOWHERE
        else:
            what = SEND if again else DONE.get(state, SEND)
        found.append(Planned(letter, address, what))
    return found


def _send_all(planned: list[Planned], server: Server, done: sent.Sent, month: Month) -> int:
    """Send what is to be sent, and print one line about it."""
    to_send = [each for each in planned if each.what == SEND]
    failed = 0
    for at, each in enumerate(to_send):
        now, user = int(time.time()), each.letter.user
        content = message(month, each.letter, each.address, now)
        try:
            answer = server.send(each.address, content, partial(done.note, user, sent.BEGUN, now))
        except MailError as err:
            doubt = (
                f"; it is not known whether the one to user {user} was taken"
                if done.states.get(user) == sent.BEGUN
                else ""
            )
            raise MailError(f"{err}; {at} of {len(to_send)} messages were handed over{doubt}; run this again") from err
        state = sent.SENT if answer.code == 250 else sent.REFUSED if answer.code >= 500 else sent.DEFERRED
        done.note(user, state, now, f"{answer.code} {answer.text}")
        if state != sent.SENT:
            failed += 1
            warn(PROGRAM, f"user {user}, {each.address}: {state} by the server: {answer.code} {answer.text}")
    failed += _say_doubts(planned)
    counts = {what: sum(each.what == what for each in planned) for what in (OUT, NOWHERE, *DONE.values())}
    said = [f"{len(to_send)} messages, {failed} not sent" if failed else f"{len(to_send)} messages sent"]
    print(", ".join([*said, *(f"{count} {what}" for what, count in counts.items() if count)]))
    return 1 if failed else 0


def _say_doubts(planned: list[Planned]) -> int:
    """Name the users of whom it is not known whether they got a message, and return how many they are."""
    users = [each.letter.user for each in planned if each.what == DONE[sent.BEGUN]]
    for user in users:
        warn(PROGRAM, f"user {user}: broken off, so it is not known whether it was sent; --to {user} --again sends it")
    return len(users)


def _letters(settings: Settings, period: Period, output: Path, now: int) -> tuple[Month, list[Letter]]:
    """Return the letters of all users with jobs in the month, by name, and what they share."""
    database = open_existing(settings)
    try:
        with database.read() as session:
            facts = read_period(settings, database, session, period, Most(0, 0), now)
    finally:
        database.close()
    before = drawings.earlier(facts.before, 0)
    get = {key: settings.text("reports", key) for key in ("contact", "templates", "mail_from", "url", "names")}
    month = Month(
        period,
        period.before(),
        site_name(settings, facts),
        prices(settings).currency,
        _provisional(facts),
        get["contact"],
        get["templates"],
        get["mail_from"],
    )
    letters = []
    for user, parts in sorted(sums.by(facts.parts, "owner").items()):
        place = f"{period.name}/users/{file_stem(user)}"
        page = f"{get['url'].rstrip('/')}/{quote(place)}.html" if get["url"] and get["names"] == "users" else ""
        pdf = output / f"{place}.pdf"
        attached = pdf if not page and pdf.is_file() else None
        accounts = sums.shares(parts, "project")
        letters.append(Letter(user, sums.total(parts), before.get(user, Amounts()), accounts, page, attached))
    return month, letters


def _provisional(facts: Facts) -> list[str]:
    """Return what may still change the figures, without a word on others' jobs."""
    if any(slot.estimated for slot in facts.history.slots):
        return ["Provisional: intensities of the grid are first estimates of their source, so carbon may still change."]
    return []


@contextmanager
def _closing(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.close()
