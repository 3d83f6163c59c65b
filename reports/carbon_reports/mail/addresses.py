# SPDX-License-Identifier: MIT
"""Finds the addresses of users: in a file, else at Slurm's own MailDomain; and who wants no mail."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_acct.slurm.nodes import load_cluster_config
from carbon_collector.errors import SettingsError

if TYPE_CHECKING:
    from carbon_acct.slurm.programs import Programs
    from carbon_collector.settings import Settings

ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)
"""An address of mail: RFC 5322's dot-atom at a host, in ASCII. Nothing in it can end a line or a command of SMTP."""


def is_address(text: str) -> bool:
    """Return whether a text is an address that a message can be sent to."""
    return ADDRESS.fullmatch(text) is not None


def addresses(settings: Settings, programs: Programs) -> dict[str, str]:
    """Return the address of each user. Raises SettingsError and SlurmError."""
    name = settings.text("reports", "addresses")
    return _of_file(name) if name else _of_slurm(programs)


def opted_out(settings: Settings) -> set[str]:
    """Return the users that want no mail. Raises SettingsError."""
    name = settings.text("reports", "opt_out")
    return {words[0] for _, words in _lines("opt_out", name)} if name else set()


def _of_file(name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, words in _lines("addresses", name):
        if len(words) != 2 or not is_address(words[1]):
            raise SettingsError(f"[reports] addresses = {name}: line {number} is not a user, a blank and an address")
        if words[0] in found:
            raise SettingsError(f"[reports] addresses = {name}: line {number} names user {words[0]} again")
        found[words[0]] = words[1]
    return found


def _of_slurm(programs: Programs) -> dict[str, str]:
    """Return USER@MailDomain for each user that sacctmgr lists, which is where slurmctld writes to (slurm.conf)."""
    domain = load_cluster_config(programs).get("MailDomain", "")
    if domain in ("", "(null)"):
        raise SettingsError("[reports] addresses is empty, and slurm.conf has no MailDomain; set one of them")
    users = programs.run("sacctmgr", "-nP", "show", "user", "format=User").splitlines()
    return {user: f"{user}@{domain}" for line in users if (user := line.partition("|")[0].strip())}


def _lines(key: str, name: str) -> list[tuple[int, list[str]]]:
    """Return the words of each line that is not empty, with its number. `#` begins a comment."""
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"[reports] {key} = {name}: cannot be read: {err}") from err
    lines = enumerate((line.partition("#")[0].split() for line in text.splitlines()), 1)
    return [(number, words) for number, words in lines if words]
