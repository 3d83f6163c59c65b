# SPDX-License-Identifier: MIT
"""Tests of the admins' commands."""
