# SPDX-License-Identifier: MIT
"""The record reader: the corpus again, and a bounded time of coverage-guided fuzzing from it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.records import check

HERE = Path(__file__).parent
CORPUS = HERE / "corpus" / "records"
SECONDS = 10


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    """Whatever a fuzzer once found, or was given to begin with, is read or refused, and never more than that."""
    check(path.read_bytes())


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris has no build for this Python")
@pytest.mark.slow
def test_fuzz(tmp_path: Path) -> None:
    """Some seconds of new inputs find nothing; what one finds is printed, to be kept in the corpus."""
    corpus = shutil.copytree(CORPUS, tmp_path / "corpus")
    options = [f"-max_total_time={SECONDS}", "-timeout=5", "-max_len=4096", f"-artifact_prefix={tmp_path}/found-"]
    command = [sys.executable, str(HERE / "records.py"), str(corpus), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 60, check=False)
    found = [path.read_bytes() for path in tmp_path.glob("found-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-3000:]
    runs = next(line for line in done.stderr.splitlines() if line.startswith("Done "))
    assert int(runs.split()[1]) > 1000
