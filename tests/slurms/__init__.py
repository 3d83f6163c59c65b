# SPDX-License-Identifier: MIT
"""What each release of Slurm in Debian does with more than one prolog: `make test-slurms`, each release in a root of its own."""
