# SPDX-License-Identifier: MIT
"""Rings 1 and 2 of prolog and epilog: the real script in a hostile world."""
