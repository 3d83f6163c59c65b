# SPDX-License-Identifier: MIT
"""The accounting host: receives the nodes' records, merges them with Slurm's, applies emission factors, stores and answers."""
