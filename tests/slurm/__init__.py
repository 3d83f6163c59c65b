# SPDX-License-Identifier: MIT
"""A real Slurm cluster in namespaces of its own, for tests and the demo. Standard library only."""
