# SPDX-License-Identifier: MIT
"""One run of the emulated machine for all tests of ring 5, and a table of its jobs at the end.

The tests are not even collected unless they are asked for (`-m vm`): a run takes minutes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vm import machine
from vm.seen import Seen

TABLE = pytest.StashKey[list[str]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of every other run."""
    return None if "vm" in config.getoption("markexpr").split() else True


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config) -> Seen:
    """What one run of the machine left behind; VM_RESULTS names the folder of a run that is over."""
    lack = machine.missing()
    if lack and "VM_RESULTS" not in os.environ:
        pytest.skip(f"ring 5 cannot run: {lack}")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    again = os.environ.get("VM_RESULTS", "")
    found = Seen(Path(again) if again else machine.run(say))
    pytestconfig.stash[TABLE] = found.table()
    (machine.FOLDER / "table.txt").write_text("\n".join(found.table()) + "\n")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    for line in config.stash.get(TABLE, []):
        terminalreporter.write_line(line)
