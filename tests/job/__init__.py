# SPDX-License-Identifier: MIT
"""Tests of carbon_job and carbon-track, against a live file that a small simulator writes."""
