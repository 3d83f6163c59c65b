# SPDX-License-Identifier: MIT
"""The part of carbon-acct that runs on a compute node: it opens, meters and seals the ledgers of jobs.

Standard library only (and nvidia-ml-py where there is an NVIDIA driver), Python 3.9 and later.
"""

__version__ = "0.2.0"
