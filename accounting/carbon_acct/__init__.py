# SPDX-License-Identifier: MIT
"""The accounting host: receives the nodes' records, merges them with Slurm's, prices, stores and answers."""
