# SPDX-License-Identifier: MIT
"""Finds a Python of a given version for a test, or skips the test and says what is missing.

`python3.9`, `python3.10`, ... are looked for among pyenv's versions and on PATH; `CARBON_ACCT_PYTHON39`,
`CARBON_ACCT_PYTHON310`, ... name others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def interpreter(version: str) -> str:
    """Return the path of a Python of this version (`3.9`); skip the test where there is none."""
    minor = version.partition(".")[2]
    name, variable = f"python{version}", f"CARBON_ACCT_PYTHON3{minor}"
    found = os.environ.get(variable) or _of_pyenv(name) or shutil.which(name)
    if not found:
        pytest.skip(f"{name} is neither pyenv's nor on PATH, and {variable} names none")
    asked = [found, "-ISc", "import sys; print(sys.version_info[1])"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.stdout.strip() != minor:
        pytest.skip(f"{found} is no {name} that runs (a shim of none?); {variable} may name another")
    return found


def _of_pyenv(name: str) -> str | None:
    """Return pyenv's own interpreter: its shim on PATH runs only the versions that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((str(path) for path in sorted(root.glob(f"versions/{name[6:]}.*/bin/{name}"))), None)
