# SPDX-License-Identifier: MIT
"""Makes the packages of this folder (`slurm`, `simulator`) importable by the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
