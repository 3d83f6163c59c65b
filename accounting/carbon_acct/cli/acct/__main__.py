# SPDX-License-Identifier: MIT
"""`python -m carbon_acct.cli.acct`."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
