# SPDX-License-Identifier: MIT
"""`python -m carbon_job` is carbon-track."""

import sys

from .cli import main

sys.exit(main())
