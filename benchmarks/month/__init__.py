# SPDX-License-Identifier: MIT
"""A month of a site's jobs on a grid whose intensity moves: what emission factors are judged by. Made up, and always the same."""
