# SPDX-License-Identifier: MIT
"""What a job will consume, before it runs: what is asked for, on which basis, in which zone. The standard library only."""
