# SPDX-License-Identifier: MIT
"""The part of carbon-acct that runs on a compute node: it opens, meters and seals the ledgers of jobs.

Standard library only (and nvidia-ml-py where there is an NVIDIA driver), Python 3.9 and later.
"""

import sys

__version__ = "0.2.0"

if sys.version_info < (3, 9):  # noqa: UP036 - this file is all that such a Python can read
    sys.stderr.write(
        "carbon-collector: needs Python 3.9 or later; %s is %s\n" % (sys.executable, sys.version.split()[0])  # noqa: UP031
    )
    sys.exit(1)
