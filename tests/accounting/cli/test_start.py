# SPDX-License-Identifier: MIT
"""Each installed program says in one line that its Python is too old, and works from its floor on."""

from __future__ import annotations

import subprocess
import tomllib

import pytest

from carbon_acct import start
from interpreters import interpreter
from slurm.layout import CHECKOUT

PROGRAMS = {
    "acct": ("carbon-acct", start.CLIENT),
    "estimate": ("carbon-estimate", start.CLIENT),
    "aggregator": ("carbon-aggregator", start.SERVER),
    "mgr": ("carbon-mgr", start.SERVER),
    "report": ("carbon-report", start.SERVER),
    "web": ("carbon-web", start.SERVER),
}
VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@pytest.mark.parametrize("entry", PROGRAMS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_floor_is_held(entry: str, version: str) -> None:
    """Below the floor: exit 1 and one line that names both versions. From the floor on: the version, exit 0."""
    program, floor = PROGRAMS[entry]
    folders = [str(CHECKOUT / name) for name in ("accounting", "collector", "reports")]
    code = f"import sys; sys.path[:0] = {folders}; from carbon_acct import start; sys.exit(start.{entry}())"
    command = [interpreter(version), "-c", code, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if tuple(int(part) for part in version.split(".")) >= floor:
        assert (done.returncode, done.stderr, done.stdout.split()[0]) == (0, "", program)
    else:
        wanted = f"{program}: needs Python {floor[0]}.{floor[1]} or newer; this is Python {version}."
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(wanted)
        assert done.stderr.count("\n") == 1


def test_the_scripts_are_these_entries() -> None:
    """Pyproject's scripts of the accounting host and of users name the entries that were tested here."""
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {scripts[program] for program, _ in PROGRAMS.values()} == {
        f"carbon_acct.start:{entry}" for entry in PROGRAMS
    }
