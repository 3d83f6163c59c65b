# SPDX-License-Identifier: MIT
"""Callbacks for frameworks, one module each. A framework is imported when its module is, never by carbon_job itself.

`carbon_job.callbacks.lightning`, `.keras` and `.transformers` each have a `CarbonCallback` that takes the options of
`carbon_job.track`.
"""
