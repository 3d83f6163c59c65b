# SPDX-License-Identifier: MIT
"""Estimates what a job will consume, before it runs: what it asks for, on which basis, in which zone.

It uses the standard library only, because it runs on login nodes. It measures nothing.
"""
