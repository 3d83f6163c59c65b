# SPDX-License-Identifier: MIT
"""A site's certificate before the aggregator, as docs/http-api.md says: nodes deliver and users ask over TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.samples import job_slot, ledger, node_slot, segment
from accounting.served import Served, serve
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller
from carbon_collector import munge
from carbon_collector.http import RequestError, request


class TlsProxy:
    """A proxy that ends TLS, one request a connection, and says whom it speaks for as its `forwarded` has it."""

    def __init__(self, certificate: Path, behind: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.forwarded = "127.0.0.1"
        self._behind = behind
        self._listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)

    def _run(self) -> None:
        while self._listener.fileno() >= 0:
            try:
                client, _ = self._listener.accept()
            except OSError:  # of a client that does not trust the certificate; at the end the socket is closed
                continue
            with client, contextlib.suppress(OSError):
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        message = b""
        while b"\r\n\r\n" not in message:
            message += client.recv(65536)
        head, _, body = message.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")
        )
        while len(body) < length:
            body += client.recv(65536)
        with socket.create_connection(("127.0.0.1", self._behind)) as server:
            server.sendall(head + f"\r\nX-Forwarded-For: {self.forwarded}\r\n\r\n".encode() + body)
            while answer := server.recv(65536):
                client.sendall(answer)


@pytest.fixture
def tls(
    site: Site, poller: Poller, munge_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Served, TlsProxy]]:
    """An aggregator that believes a proxy on loopback, the proxy, and a certificate that this process trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl (Debian: apt-get install openssl)")
    poller.poll()
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run([*command, *names], check=True, capture_output=True)
    (tmp_path / "both.pem").write_text(key.read_text() + cert.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    for served in serve(site, poller, munge_socket, proxies=["127.0.0.1"]):
        proxy = TlsProxy(tmp_path / "both.pem", served.port)
        try:
            yield served, proxy
        finally:
            proxy.stop()


def test_a_site_with_a_certificate(tls: tuple[Served, TlsProxy], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS a node delivers and a user asks as without it; a node's peer is whom the proxy names; a program that does not
    trust the certificate sends nothing.
    """
    served, proxy = tls
    body = segment([ledger(), job_slot(), node_slot()])

    def ask(method: str, target: str, body: bytes = b"") -> int:
        credential = served.credential(munge.request_digest(method, target, body))
        return request(method, proxy.url, target, body, {"Authorization": f"MUNGE {credential}"}).status

    assert ask("POST", "/v1/segments", body) == 200
    assert ask("GET", "/v1/jobs") == 200
    proxy.forwarded = "192.0.2.7"
    assert ask("POST", "/v1/segments", segment([ledger(revision=2)], sequence=2)) == 403
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(RequestError, match="certificate"):
        ask("POST", "/v1/segments", body)
