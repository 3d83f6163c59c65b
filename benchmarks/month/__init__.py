# SPDX-License-Identifier: MIT
"""A month of a site's jobs on a grid whose intensity moves: what pricing is judged by. Made up, and always the same."""
