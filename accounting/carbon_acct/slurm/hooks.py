# SPDX-License-Identifier: MIT
"""What has to change so that slurmd runs our scripts as well as those that a site has, from what slurmctld runs today.

It depends on Slurm's release: before 24.05 a second `Prolog=` line silently replaces the first, and a list with commas
drains the node; since then several lines are allowed (slurm.conf(5)). Nothing is read or changed here. The Ansible role,
which also reads the file, has its own plan (ansible/roles/carbon_acct/module_utils); a test holds the two to each other.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

HOOK = "carbon-acct.sh"
INSTALLED = "/usr/lib/carbon-acct"
"""The folder of the node's package with the hooks, `prolog/` and `epilog/`."""
KINDS = ("Prolog", "Epilog")
SEVERAL_LINES = (24, 5)
"""The first release that runs the scripts of all lines of a kind."""
SENDS_SCRIPTS = (23, 11)
"""The first release that sends a script without a folder to configless nodes (its CHANGELOG/slurm-23.11.md)."""
ALLOC = {"alloc", "contain", "x11", "runinjob"}
"""The flags with which slurmd runs the prolog at the allocation (slurm.conf(5), PrologFlags)."""


class Step(NamedTuple):
    """What to do about one setting of slurm.conf.

    `case`: `ours` and `flags set` (nothing), `none`, `glob`, `script`, `lines`, `flags`, or `unclear`. `on_nodes`:
    commands for each node, first. `line`: what slurm.conf has afterwards; `replaces`: the value that this line replaces.
    `why` says what is unclear.
    """

    case: str
    on_nodes: tuple[str, ...] = ()
    line: str = ""
    replaces: str = ""
    why: str = ""


def steps(values: Mapping[str, Sequence[str]], version: tuple[int, int]) -> list[Step]:
    """Return the steps for Prolog, Epilog and PrologFlags. `values`: the lines that each has in slurm.conf."""
    return [*(_step(kind, list(values.get(kind, ())), version) for kind in KINDS), _flags(values)]


def folder_of(kind: str) -> str:
    """Return the folder in which the node's package puts a hook for slurmd."""
    return f"/etc/slurm/{kind.lower()}.d"


def _step(kind: str, lines: list[str], version: tuple[int, int]) -> Step:
    ours, several = f"{folder_of(kind)}/{HOOK}", version >= SEVERAL_LINES
    release = f"Slurm {version[0]}.{version[1]:02}"
    if not lines:
        return Step("none", line=f"{kind}={ours}")
    if len(lines) > 1 and not several:
        return Step("unclear", why=f"{release} runs the {kind} of the last line only; leave one line")
    if any("," in one for one in lines):
        return Step("unclear", why=f"{kind}={','.join(lines)} is no script and no glob; {release} takes no list")
    if any(fnmatch.fnmatchcase(ours, one) for one in lines):
        return Step("ours")
    if taking := [one for one in lines if takes_hook(one)]:
        target = f"{posixpath.dirname(taking[0])}/{HOOK}"
        return Step("glob", on_nodes=(f"install -m 755 {INSTALLED}/{kind.lower()}/{HOOK} {target}",))
    if several:
        return Step("lines", line=f"{kind}={ours}")
    if "/" not in lines[0]:
        sent = (
            "slurmctld sends it to the nodes" if version >= SENDS_SCRIPTS else "no slurmd finds it before Slurm 23.11"
        )
        return Step("unclear", why=f"{kind}={lines[0]} has no folder, so {sent}; {release} runs nothing beside it")
    if _is_glob(lines[0]):
        return Step("unclear", why=f"the glob {lines[0]} takes no file named {HOOK}; {release} runs nothing beside it")
    return _beside(kind, lines[0])


def _beside(kind: str, script: str) -> Step:
    """Return the step where one script has to become one of two that a glob takes."""
    glob = f"{kind}={folder_of(kind)}/*.sh"
    if fnmatch.fnmatchcase(script, f"{folder_of(kind)}/*.sh"):
        return Step("script", line=glob, replaces=script)
    site = f"{folder_of(kind)}/50-site.sh"
    write = f"printf '#!/bin/sh\\nexec {script} \"$@\"\\n' > {site}.new && chmod 755 {site}.new && mv {site}.new {site}"
    return Step("script", on_nodes=(write,), line=glob, replaces=script)


def _flags(values: Mapping[str, Sequence[str]]) -> Step:
    now = ",".join(values.get("PrologFlags", ()))
    if ALLOC & set(now.lower().split(",")):
        return Step("flags set")
    return Step("flags", line=f"PrologFlags={now + ',' if now else ''}Alloc", replaces=now)


def takes_hook(value: str) -> bool:
    """Return whether a value is a glob for the files of one folder that takes a file with our hook's name."""
    folder, name = posixpath.split(value)
    return folder.startswith("/") and not _is_glob(folder) and _is_glob(name) and fnmatch.fnmatchcase(HOOK, name)


def _is_glob(value: str) -> bool:
    return any(sign in value for sign in "*?[")
