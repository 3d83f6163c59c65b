# SPDX-License-Identifier: MIT
"""Tests of the accounting host."""
