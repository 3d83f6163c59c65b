# SPDX-License-Identifier: MIT
"""Prints a link that signs the caller in to carbon-web, once and within a minute: --web."""

from __future__ import annotations

from carbon_collector import munge, settings
from carbon_collector.errors import SettingsError

from ...client import web_link


def run() -> int:
    """Print the link and return the exit status. Raises SettingsError where the site takes no links."""
    config = settings.load()
    url = config.text("web", "url")
    if not url:
        raise SettingsError("--web: [web] url is not set: this site takes no links to pages for a browser")
    made = munge.encode(web_link.payload(url), config.text("slurm", "munge_socket"), web_link.LINK_S)
    print(web_link.link(url, made))
    return 0
