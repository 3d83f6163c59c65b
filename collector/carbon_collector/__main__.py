# SPDX-License-Identifier: MIT
"""Entry point of the zipapp and of `python -m carbon_collector`."""

import sys

from .cli import main

sys.exit(main())
