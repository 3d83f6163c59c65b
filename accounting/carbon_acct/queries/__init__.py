# SPDX-License-Identifier: MIT
"""What is read: jobs, sums, quality, nodes, the energy of the site."""
