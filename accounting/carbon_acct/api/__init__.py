# SPDX-License-Identifier: MIT
"""The aggregator's HTTP API (docs/http-api.md): nodes deliver and users ask. MUNGE says who they are."""
