# SPDX-License-Identifier: MIT
"""The collector as one file: built by any Python with pynvml.py alone, the same bytes each time."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from slurm.layout import CHECKOUT

BUILD = CHECKOUT / "packaging/build_zipapp.py"


def build(output: Path, pynvml: str, umask: int = 0o022, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build it by a Python that has nothing but its standard library."""
    command = [sys.executable, "-I", "-S", str(BUILD), str(output)]
    variables = {**os.environ, "PYNVML": pynvml, **environment}
    return subprocess.run(command, env=variables, umask=umask, capture_output=True, text=True, check=False, timeout=60)


def pynvml() -> str:
    """Where this environment has pynvml.py."""
    spec = importlib.util.find_spec("pynvml")
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def test_two_builds_are_equal(tmp_path: Path) -> None:
    """Neither the time zone, the umask, the order of sets nor the place changes a byte; the file runs."""
    first, second = tmp_path / "a/carbon-collector", tmp_path / "b/other-name"
    one = build(first, pynvml())
    two = build(second, pynvml(), 0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="5")

    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o755
    shown = subprocess.run([sys.executable, first, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.startswith("carbon-collector ")


def test_byte_code_is_for_every_time_zone(tmp_path: Path) -> None:
    """Each module has byte code that is not checked against times (PEP 552: flags 1), and docstrings are left out of it."""
    output = tmp_path / "carbon-collector"
    assert build(output, pynvml()).returncode == 0
    with zipfile.ZipFile(output) as archive:
        codes = {name: archive.read(name) for name in archive.namelist() if name.endswith(".pyc")}
        modules = [name for name in archive.namelist() if name.endswith(".py")]

    assert sorted(f"{name}c" for name in modules) == sorted(codes)
    assert {code[4:8] for code in codes.values()} == {(1).to_bytes(4, "little")}
    assert not any(b"Entry point of the zipapp" in code for code in codes.values())


def test_without_pynvml(tmp_path: Path) -> None:
    """Without pynvml.py nothing is built, and the message says how to get it."""
    done = build(tmp_path / "carbon-collector", str(tmp_path / "missing.py"))

    assert done.returncode == 1
    assert "pip install --target build/pynvml nvidia-ml-py" in done.stderr
    assert list(tmp_path.iterdir()) == []
