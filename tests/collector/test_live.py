# SPDX-License-Identifier: MIT
"""The live file: version 2, its owner's alone, and no way to fill the file system through it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import live
from carbon_collector.live import Live, component

ALICE, BOB = 1000, 1001
amounts = st.integers(0, 10**15)


@given(energy=st.none() | amounts, static=amounts, metered=amounts, held=amounts, reason=st.text(max_size=5))
def test_what_is_unknown_is_absent_with_a_reason(
    energy: int | None, static: int, metered: int, held: int, reason: str
) -> None:
    """Unknown energy is never a number; less time metered than held never goes without a reason; rounding goes down."""
    found: dict[str, Any] = component(energy, static, metered, held, "counter", reason)

    assert ("energy_uj" in found) == (energy is not None)
    if energy is None or metered < held:
        assert found["missing"]
    else:
        assert "missing" not in found
    if energy is not None:
        assert 0 <= energy - found["energy_uj"] < 100_000
        assert found["energy_uj"] % 100_000 == found["static_uj"] % 100_000 == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are."""
    return tmp_path / "live"


def test_two_inodes_take_turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a file is written, whoever holds old ones open holds two at most; each is whole at any time."""
    monkeypatch.setattr(live, "CALM_S", 0.0)
    shown = Live(str(folder))
    path, inodes, held = folder / "7.json", set(), []
    for number in range(50):
        shown.show({"7": (os.getuid(), {"job_id": 7, "pad": "x" * (number % 7)})})
        held.append(path.open("rb"))
        inodes.add(path.stat().st_ino)
        assert json.loads(path.read_text())["sequence"] == number + 1
    for file in held:
        file.close()

    assert len(inodes) == 2
    assert {one.name for one in folder.iterdir()} == {"7.json", "7.json.next"}
    shown.show({})
    assert list(folder.iterdir()) == []


def test_a_file_is_not_written_again_at_once(folder: Path) -> None:
    """Who has just opened it reads it to its end; a new job's file is there at once."""
    shown = Live(str(folder))
    me = os.getuid()
    shown.show({"7": (me, {})})
    shown.show({"7": (me, {}), "8": (me, {})})
    soon = json.loads((folder / "7.json").read_text())["sequence"]
    time.sleep(live.CALM_S)
    shown.show({"7": (me, {}), "8": (me, {})})

    assert soon == 1
    assert json.loads((folder / "8.json").read_text())["sequence"] == 3


@pytest.mark.skipif(os.getuid() != 0, reason="only root can let another user read")
def test_a_user_cannot_fill_the_run_directory(tmp_path: Path) -> None:
    """With his own live file open, before and after it is replaced, he writes nothing; nor can he make it his."""
    shown = Live(str(tmp_path / "live"))
    shown.show({"7": (ALICE, {"job_id": 7})})
    script = (
        "exec 8<7.json; chmod 600 7.json; chmod u+w /proc/self/fd/8; exec 9>>7.json && head -c 60000000 /dev/zero >&9\n"
        "cat <&8; setfacl -m u:1000:rw 7.json; head -c 60000000 /dev/zero >>/proc/self/fd/8"
    )
    line = ["setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups", "/bin/sh", "-c", script]
    subprocess.run(line, cwd=tmp_path / "live", capture_output=True, check=False)

    path = tmp_path / "live/7.json"
    assert (path.stat().st_uid, path.stat().st_size < 4096) == (0, True)
    assert json.loads(path.read_text())["job_id"] == 7


@pytest.mark.skipif(os.getuid() != 0, reason="only root can let another user read")
def test_a_job_id_that_returns_has_its_own_reader(tmp_path: Path) -> None:
    """What a collector that was killed has left for one user is not another's to read."""
    first = Live(str(tmp_path / "live"))
    first.show({"7": (ALICE, {})})
    again = Live(str(tmp_path / "live"))
    again.show({"7": (BOB, {})})
    acl = os.getxattr(tmp_path / "live/7.json", live.ACCESS)

    assert acl == live.readable_by(BOB)
    assert list((tmp_path / "live").iterdir()) == [tmp_path / "live/7.json"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_without_access_control_lists_the_file_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none still shows a job its energy, and nobody else."""

    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    Live(str(tmp_path / "live")).show({"7": (ALICE, {})})
    found = (tmp_path / "live/7.json").stat()

    assert (found.st_uid, found.st_mode & 0o077) == (ALICE, 0)
