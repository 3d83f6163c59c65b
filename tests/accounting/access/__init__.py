# SPDX-License-Identifier: MIT
"""Tests of who speaks and of what that one may do."""
