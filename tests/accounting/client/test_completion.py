# SPDX-License-Identifier: MIT
"""Completion in real shells: what a person has on the command line after the tabulator, in Bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carbon_acct.client.fields import FIELDS

SCRIPTS = Path(__file__).parents[3] / "accounting" / "completions"
PATH = "/usr/bin:/bin"
"""Where the shells are; carbon-acct is not there, so that nobody can be asked."""
COMPLETIONS = {
    ("carbon-acct", "--mon"): ["--month"],
    ("carbon-acct", "sh"): ["show"],
    ("carbon-acct", "-o", "energ"): ["Energy", "EnergyRaw"],
    ("carbon-acct", "-o", "JobID,quality"): ["JobID,Quality", "JobID,QualityNotes"],
    ("carbon-acct", "--by", "user,ac"): ["user,account"],
    ("carbon-acct", "-s", "out"): ["OUT_OF_MEMORY"],
    ("carbon-acct", "--month", "l"): ["last"],
    ("carbon-acct", "-u", "a"): [],
}
TYPED = {
    "carbon-acct --mon": "--month",
    "carbon-acct sh": "show",
    "carbon-acct -o JobID,QualityN": "-o JobID,QualityNotes",
    "carbon-acct --by user,ac": "--by user,account",
    "carbon-acct -s OUT": "-s OUT_OF_MEMORY",
    "carbon-acct --month l": "--month last",
    "carbon-acct --month=t": "--month=this",
    "carbon-acct -u a": "-u a",
}
"""What is typed before the tabulator, and the words that the program is then run with."""
PATIENCE_S = 60


def _installed(shell: str) -> str:
    found = shutil.which(shell, path=PATH)
    if found is None:
        pytest.skip(f"{shell} is not installed (Debian: apt-get install {shell})")
    return found


@pytest.mark.parametrize("words", COMPLETIONS, ids=" ".join)
def test_completion_in_bash(words: tuple[str, ...]) -> None:
    """A real Bash completes options, fields, states and words of --by, the later ones of a list as well, and asks nobody."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"source {SCRIPTS}/carbon-acct.bash; compopt() {{ :; }}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _carbon_acct; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, check=True, env={"PATH": PATH}
    )

    assert [line for line in done.stdout.splitlines() if line] == COMPLETIONS[words]
    assert done.stderr == ""


def test_completion_in_fish(tmp_path: Path) -> None:
    """A real fish offers the same words, and asks nobody."""
    fish = _installed("fish")
    lines = "; ".join(f"complete -C '{' '.join(words)}'; echo ===" for words in COMPLETIONS)
    done = subprocess.run(
        [fish, "--no-config", "-c", f"source {SCRIPTS}/carbon-acct.fish; {lines}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": PATH, "HOME": str(tmp_path)},
    )

    parts = done.stdout.split("===\n")[: len(COMPLETIONS)]
    offered = [[line.partition("\t")[0] for line in part.splitlines()] for part in parts]
    assert dict(zip(COMPLETIONS, offered, strict=True)) == COMPLETIONS
    assert done.stderr == ""


@pytest.fixture
def zsh(tmp_path: Path) -> Iterator[int]:
    """A terminal with a real zsh that completes carbon-acct, which prints the words that it is run with."""
    program = _installed("zsh")
    (tmp_path / "_carbon-acct").write_bytes((SCRIPTS / "carbon-acct.zsh").read_bytes())
    terminal, its_end = pty.openpty()
    environment = {"PATH": PATH, "HOME": str(tmp_path), "TERM": "dumb"}
    shell = subprocess.Popen(
        [program, "-f", "-i"], stdin=its_end, stdout=its_end, stderr=its_end, env=environment, start_new_session=True
    )
    os.close(its_end)
    # The marks are written in parts, so that the echo of this line has none.
    starts = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D; "
    starts += "carbon-acct() { print -r -- '<<''<'\"$*\"'>''>>' }; print READ''Y\n"
    os.write(terminal, starts.encode())
    _until(terminal, b"READY")
    yield terminal
    shell.kill()
    shell.wait()
    os.close(terminal)


def test_completion_in_zsh(zsh: int) -> None:
    """In a real zsh the tabulator completes options, fields, states, words of --by and months."""
    found = {}
    for line in TYPED:
        os.write(zsh, line.encode() + b"\t\n")
        found[line] = _until(zsh, b">>>").rpartition(b"<<<")[2].decode()

    assert found == TYPED


def _until(terminal: int, mark: bytes) -> bytes:
    """What a terminal shows until a mark."""
    shown, deadline = b"", time.monotonic() + PATIENCE_S
    while mark not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, shown
        shown += os.read(terminal, 4096)
    return shown.partition(mark)[0]


def test_completions_know_every_field() -> None:
    """Each shell's script has the name of every field."""
    for path in SCRIPTS.glob("carbon-acct.*"):
        text = path.read_text(encoding="utf-8")
        assert [field.name for field in FIELDS if field.name not in text] == []
