# SPDX-License-Identifier: MIT
"""Tests of the HTTP interface."""
