# SPDX-License-Identifier: MIT
"""The aggregator's HTTP API (docs/http-api.md): nodes deliver segments and users ask for jobs. MUNGE says who they are.

It holds no SQL: `delivery` stores, `queries` reads.
"""
