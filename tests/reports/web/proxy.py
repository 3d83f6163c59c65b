# SPDX-License-Identifier: MIT
"""Debian's nginx as the site's web proxy, with pages under a path of its own."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from accounting.served import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = "/usr/sbin/nginx"
CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    {places}
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
FORWARDED = """
    proxy_pass http://unix:{socket}:/;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Prefix /carbon;
    proxy_set_header Host $host;
"""
"""What a location has besides: the lines that sites copy from elsewhere."""


@contextmanager
def nginx(folder: Path, web_socket: str, locations: dict[str, str]) -> Iterator[str]:
    """Run nginx before carbon-web, with the directives of each location; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    blocks = [f"location {path} {{ {FORWARDED.format(socket=web_socket)} {more} }}" for path, more in locations.items()]
    places = "\n".join(f"{name}_temp_path {folder}/{name};" for name in PLACES)
    conf = folder / "nginx.conf"
    conf.write_text(CONF.format(folder=folder, port=port, places=places, locations="\n".join(blocks)), encoding="utf-8")
    process = subprocess.Popen([PROGRAM, "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log")])
    try:
        wait_for(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
