# SPDX-License-Identifier: MIT
"""Real database servers, and what has to hold on each of them."""
