# SPDX-License-Identifier: MIT
"""Says what of slurm.conf has to change so that slurmd runs the hooks, without a file being read or written.

A site may have a prolog already, and what can be done about it depends on Slurm's release: before 24.05 a second `Prolog=` line
silently replaces the first, and a list with commas drains the node; since then several lines are allowed (slurm.conf(5)).
Where it is not certain what Slurm does with the lines, `UnclearError` is raised and nothing is planned.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

HOOK = "carbon-acct.sh"
KINDS = ("Prolog", "Epilog")
FOLDERS = {"Prolog": "/etc/slurm/prolog.d", "Epilog": "/etc/slurm/epilog.d"}
SEVERAL_LINES = (24, 5)
"""The first release that runs the scripts of all `Prolog=` lines."""
SENDS_SCRIPTS = (23, 11)
"""The first release that sends a script without a folder to configless nodes (its CHANGELOG/slurm-23.11.md)."""
ALLOC = {"alloc", "contain", "x11", "runinjob"}
"""Flags with which slurmd runs the prolog at the allocation (slurm.conf(5), PrologFlags)."""
BEGIN = "# BEGIN carbon-acct (Ansible role): state absent takes this out"
END = "# END carbon-acct"
REPLACED = "# carbon-acct replaced: "
_ANY = re.compile(r"(?:^|\s)(prolog|epilog|prologflags)\s*=", re.IGNORECASE)
_WHOLE = re.compile(r'\s*(prolog|epilog|prologflags)\s*=\s*(?:"([^"\s]+)"|([^"\s]+))\s*', re.IGNORECASE)
_INCLUDE = re.compile(r"\s*include\s+(\S+)\s*", re.IGNORECASE)


class UnclearError(Exception):
    """What Slurm does with the lines is not certain; the message says which they are and what to do."""


class Line(NamedTuple):
    """A setting as it stands in a file, with the number of its line, from 1."""

    key: str
    value: str
    file: str
    number: int


class Plan(NamedTuple):
    """What to do about one slurm.conf.

    `cases`: kind -> `none`, `ours`, `glob`, `script` or `lines`. `folders`: kind -> folder of a glob of the site's own that
    the hook is put into. `scripts`: kind -> the site's script that is run from our folder. `text`: the new slurm.conf.
    """

    cases: dict[str, str]
    folders: dict[str, str]
    scripts: dict[str, str]
    text: str


def hook_of(kind: str) -> str:
    """Return where slurmd finds our hook."""
    return f"{FOLDERS[kind]}/{HOOK}"


def glob_of(kind: str) -> str:
    """Return the glob that runs all scripts of our folder."""
    return f"{FOLDERS[kind]}/*.sh"


def version_of(text: str) -> tuple[int, int]:
    """Return the release in what `slurmd -V` says, as year and month. Raises UnclearError."""
    found = re.search(r"(\d+)\.(\d+)", text)
    if not found:
        raise UnclearError(f"{text!r} names no release of Slurm")
    return int(found[1]), int(found[2])


def lines_of(text: str, file: str) -> list[Line]:
    """Return the lines of a file that set Prolog, Epilog or PrologFlags. Raises UnclearError."""
    found = []
    continued = ""
    for number, raw in enumerate(text.splitlines(), 1):
        plain = continued + raw.partition("#")[0]
        if plain.rstrip().endswith("\\"):
            continued = plain.rstrip()[:-1] + " "
            continue
        whole = _WHOLE.fullmatch(plain)
        if whole and not continued:
            key = {"prolog": "Prolog", "epilog": "Epilog", "prologflags": "PrologFlags"}[whole[1].lower()]
            found.append(Line(key, whole[2] or whole[3], file, number))
        elif _ANY.search(plain):
            raise UnclearError(
                f"{file}, line {number}: {raw.strip()!r} is more than this role can read; give each setting a line"
            )
        continued = ""
    return found


def includes_of(text: str) -> list[str]:
    """Return the files that a slurm.conf includes."""
    return [found[1] for line in text.splitlines() if (found := _INCLUDE.fullmatch(line.partition("#")[0]))]


def plan(path: str, texts: Mapping[str, str], version: tuple[int, int], alloc: bool = True) -> Plan:
    """Return what to do about the slurm.conf at `path`; `texts` has it and what it includes. Raises UnclearError."""
    lines = [line for file, text in texts.items() for line in lines_of(text, file)]
    cases, scripts = {}, {}
    replaced: dict[int, str] = {}
    added = []
    for kind in KINDS:
        values = [line for line in lines if line.key == kind]
        cases[kind] = case = _case(kind, values, version)
        if case == "script":
            _own(path, values[0])
            if not fnmatch.fnmatchcase(values[0].value, glob_of(kind)):
                scripts[kind] = values[0].value
            replaced[values[0].number] = f"{kind}={glob_of(kind)}"
        elif case in ("none", "lines"):
            added.append(f"{kind}={hook_of(kind)}")
    flags = [line for line in lines if line.key == "PrologFlags"]
    if alloc and not flags:
        added.append("PrologFlags=Alloc")
    elif alloc and not ALLOC & set(flags[-1].value.lower().split(",")):
        _own(path, flags[-1])
        replaced[flags[-1].number] = f"PrologFlags={flags[-1].value},Alloc"
    return Plan(cases, folders_of(lines), scripts, _written(texts[path], replaced, added))


def folders_of(lines: list[Line]) -> dict[str, str]:
    """Return for each kind the folder of a glob of the site's own that takes our hook, where no line takes it from our folder."""
    found = {}
    for kind in KINDS:
        values = [line.value for line in lines if line.key == kind]
        takes = [value for value in values if _takes_hook(value)]
        if takes and not any(fnmatch.fnmatchcase(hook_of(kind), value) for value in values):
            found[kind] = os.path.dirname(takes[0])
    return found


def undo(path: str, text: str) -> str:
    """Return a slurm.conf as it was before `plan`, without lines that name nothing but our hooks. Raises UnclearError."""
    kept: list[str] = []
    inside = False
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if line in (BEGIN, END):
            inside = line == BEGIN
        elif line.startswith(REPLACED):
            original = line[len(REPLACED) :]
            follower = next(lines, (0, ""))[1]
            if follower not in _replacements(original):
                raise UnclearError(f"{path}, line {number + 1}: {follower!r} was changed since; make it {original!r}")
            kept.append(original)
        elif not inside and not _names_our_hook(line):
            kept.append(line)
    if inside:
        raise UnclearError(f"{path}: {BEGIN!r} has no end; take our lines out by hand")
    return "".join(f"{line}\n" for line in kept)


def _case(kind: str, lines: list[Line], version: tuple[int, int]) -> str:
    several = version >= SEVERAL_LINES
    release = f"Slurm {version[0]}.{version[1]:02}"
    if not lines:
        return "none"
    if len(lines) > 1 and not several:
        where = " and ".join(f"{one.file}, line {one.number}" for one in lines)
        raise UnclearError(f"{where}: {release} runs the {kind} of the last line only; leave one line")
    for one in lines:
        if "," in one.value:
            raise UnclearError(
                f"{one.file}, line {one.number}: {one.value!r} is no script and no glob; {release} takes no list"
            )
    if any(fnmatch.fnmatchcase(hook_of(kind), one.value) for one in lines):
        return "ours"
    if any(_takes_hook(one.value) for one in lines):
        return "glob"
    if several:
        return "lines"
    value, where = lines[0].value, f"{lines[0].file}, line {lines[0].number}"
    if "/" not in value:
        sent = (
            "slurmctld sends it to the nodes" if version >= SENDS_SCRIPTS else "no slurmd finds it before Slurm 23.11"
        )
        raise UnclearError(f"{where}: {value!r} has no folder, so {sent}; {release} runs nothing beside it")
    if _is_glob(value):
        raise UnclearError(f"{where}: the glob {value!r} takes no file named {HOOK}; {release} runs nothing beside it")
    return "script"


def _takes_hook(value: str) -> bool:
    """Whether a value is a glob for the files of one folder that takes a file with our hook's name."""
    folder, name = os.path.split(value)
    return folder.startswith("/") and not _is_glob(folder) and _is_glob(name) and fnmatch.fnmatchcase(HOOK, name)


def _is_glob(value: str) -> bool:
    return any(sign in value for sign in "*?[")


def _own(path: str, line: Line) -> None:
    if line.file != path:
        raise UnclearError(f"{line.file}, line {line.number}: this role changes {path} alone; move {line.key} there")


def _written(text: str, replaced: Mapping[int, str], added: list[str]) -> str:
    if not replaced and not added:
        return text
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        out += [REPLACED + line, replaced[number]] if number in replaced else [line]
    out += [BEGIN, *added, END] if added else []
    return "".join(f"{line}\n" for line in out)


def _replacements(original: str) -> list[str]:
    """Return what a line may have been replaced with."""
    lines = lines_of(original, "")
    if len(lines) != 1:
        return []
    key, value = lines[0].key, lines[0].value
    return [f"PrologFlags={value},Alloc"] if key == "PrologFlags" else [f"{key}={glob_of(key)}"]


def _names_our_hook(line: str) -> bool:
    whole = _WHOLE.fullmatch(line.partition("#")[0])
    return bool(whole) and (whole[2] or whole[3]) in [hook_of(kind) for kind in KINDS]
