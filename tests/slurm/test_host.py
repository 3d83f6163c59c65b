# SPDX-License-Identifier: MIT
"""What the host has or does is nothing to a cluster: users of the same names, an ldconfig in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slurm.conf import others
from slurm.layout import USERS

INSIDE = """
import sys
from pathlib import Path
from slurm.mounts import Private, bind
etc, own, staging = map(Path, sys.argv[1:])
private = Private(staging)
private.shadow(etc, without=("{own}",) if "{own}" else ())
private.file(etc / "ld.so.cache", own)
print("ready", flush=True)
sys.stdin.readline()
print((etc / "ld.so.cache").read_text(), flush=True)
"""


def test_a_host_that_has_an_alice() -> None:
    """Lines of the cluster's names and of its numbers are left out, all others stay as they are."""
    host = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nzoe:x:70001:5::/:/bin/sh\ncarol2:x:9:9::/:\n"

    assert others(host, USERS) == "root:x:0:0:root:/root:/bin/sh\ncarol2:x:9:9::/:\n"


@pytest.mark.root
@pytest.mark.parametrize(("own", "seen"), [("ld.so.cache", "the cluster's"), ("", "the host's new one")])
def test_a_host_that_runs_ldconfig(tmp_path: Path, own: str, seen: str) -> None:
    """A file that the host renames into its place drops what is mounted on it, and nothing that is on an entry of one's
    own.
    """
    etc, staging = tmp_path / "etc", tmp_path / "staging"
    for folder in (etc, staging):
        folder.mkdir()
    (etc / "ld.so.cache").write_text("the host's")
    (tmp_path / "own").write_text("the cluster's")
    command = ["unshare", "--mount", "--propagation=private", sys.executable, "-c", INSIDE.format(own=own)]
    with subprocess.Popen(
        [*command, str(etc), str(tmp_path / "own"), str(staging)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (etc / "new").write_text("the host's new one")
        (etc / "new").rename(etc / "ld.so.cache")
        said, _ = process.communicate("go on\n", timeout=60)

    assert (said.strip() == "the cluster's") == (seen == "the cluster's")
