# SPDX-License-Identifier: MIT
"""Tests of what a login node needs."""
