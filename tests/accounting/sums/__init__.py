# SPDX-License-Identifier: MIT
"""Tests of what is computed from delivered rows."""
