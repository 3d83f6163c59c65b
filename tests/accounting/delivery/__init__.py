# SPDX-License-Identifier: MIT
"""Tests of what nodes deliver."""
