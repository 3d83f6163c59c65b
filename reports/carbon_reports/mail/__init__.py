# SPDX-License-Identifier: MIT
"""Sends users the month of their own jobs by mail: whom, what, by which server, and each message once."""
