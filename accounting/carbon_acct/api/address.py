# SPDX-License-Identifier: MIT
"""The address that the aggregator listens on, as the settings write it."""

from __future__ import annotations

import ipaddress

from carbon_acct.errors import ListenError


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[host]:port`. Raises ListenError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"[aggregator] listen = {text}: not an address; it looks like 127.0.0.1:6829")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this host reaches an address. A name is loopback if it is `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
