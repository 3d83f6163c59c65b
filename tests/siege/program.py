# SPDX-License-Identifier: MIT
"""The program carbon-aggregator, with stand-ins for Slurm's programs: `program.py FOLDER --config FILE`."""

from __future__ import annotations

import sys
from functools import partial

from carbon_acct import aggregator
from carbon_acct.cli.aggregator import main
from carbon_acct.slurm.programs import Programs

if __name__ == "__main__":
    aggregator.Programs = partial(Programs, search=(sys.argv[1],))  # type: ignore[misc,assignment]
    sys.exit(main(sys.argv[2:]))
