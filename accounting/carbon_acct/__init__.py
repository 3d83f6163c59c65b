# SPDX-License-Identifier: MIT
"""The accounting host: stores what nodes deliver, joins it with Slurm's record of the jobs, applies emission factors,
and answers.
"""
