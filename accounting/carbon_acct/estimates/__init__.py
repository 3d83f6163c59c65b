# SPDX-License-Identifier: MIT
"""Energy that nobody measured: which is missing, and what it may have been."""
