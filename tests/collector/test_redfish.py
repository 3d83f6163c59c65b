# SPDX-License-Identifier: MIT
"""The node's power by a BMC over HTTPS: a loopback Redfish service with sessions, errors, slowness, and the real client."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.meters import redfish
from carbon_collector.meters.base import Place
from carbon_collector.meters.redfish import Failed, Redfish, credentials

from .node import FileNode
from .process import Host, eventually, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .process import Aggregator

ROOT = "/redfish/v1"
WATTS = 400


def link(path: str) -> dict[str, str]:
    """A reference to another resource."""
    return {"@odata.id": path}


def resources(kind: str, watts: float | None) -> dict[str, Any]:
    """The tree of a BMC with one system, whose chassis shows its power in one of three ways."""
    chassis = f"{ROOT}/Chassis/1"
    tree: dict[str, Any] = {
        f"{ROOT}/": {"Systems": link(f"{ROOT}/Systems"), "Chassis": link(f"{ROOT}/Chassis")},
        f"{ROOT}/Systems": {"Members": [link(f"{ROOT}/Systems/1")]},
        f"{ROOT}/Systems/1": {"Links": {"Chassis": [link(chassis)]}},
        f"{ROOT}/Chassis": {"Members": [link(chassis), link(f"{ROOT}/Chassis/Rack")]},
    }
    if kind == "EnvironmentMetrics":
        tree[chassis] = {kind: link(f"{chassis}/{kind}"), "Power": link(f"{chassis}/Power")}
        tree[f"{chassis}/{kind}"] = {"PowerWatts": {"Reading": watts}}
        tree[f"{chassis}/Power"] = {"PowerControl": [{"PowerConsumedWatts": 1}]}
    elif kind == "PowerSubsystem":
        tree[chassis] = {kind: link(f"{chassis}/{kind}")}
        supplies = f"{chassis}/{kind}/PowerSupplies"
        tree[f"{chassis}/{kind}"] = {"PowerSupplies": link(supplies)}
        tree[supplies] = {"Members": [link(f"{supplies}/{n}") for n in (0, 1)]}
        for n in (0, 1):
            tree[f"{supplies}/{n}"] = {"Metrics": link(f"{supplies}/{n}/Metrics"), "PowerCapacityWatts": 2000}
            half = None if watts is None else watts / 2
            tree[f"{supplies}/{n}/Metrics"] = {"InputPowerWatts": {"Reading": half}}
    else:
        tree[chassis] = {"Power": link(f"{chassis}/Power")}
        tree[f"{chassis}/Power"] = {
            "PowerControl": [
                {"Name": "System Power Control", "PowerConsumedWatts": watts},
                {"Name": "CPU Power Control", "PowerConsumedWatts": 150},
            ],
            "PowerSupplies": [{"PowerInputWatts": 900, "LastPowerOutputWatts": None}],
        }
    return tree


class Service:
    """A BMC: what it serves, who may ask, how it behaves."""

    def __init__(self, tree: dict[str, Any], certificate: Path) -> None:
        self.tree = tree
        self.certificate = certificate
        self.tokens: dict[str, str] = {}
        self.opened = 0
        self.has_sessions = True
        self.password = "s3cret"
        self.slow_s = 0.0
        self.status = 0
        self.raw = b""
        self.asked: list[tuple[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.answer(self)

            def do_POST(self) -> None:
                service.answer(self)

            def do_DELETE(self) -> None:
                service.answer(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """What [collector] redfish says."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """As the state is now."""
        self.asked.append((handler.command, handler.path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        time.sleep(self.slow_s)
        status, headers, content = self._answer(handler, body)
        data = self.raw or json.dumps(content).encode()
        handler.send_response(self.status or status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], Any]:
        path = handler.path
        if path == f"{ROOT}/SessionService/Sessions" and handler.command == "POST":
            if not self.has_sessions:
                return 405, {}, {}
            if json.loads(body) != {"UserName": "carbon", "Password": self.password}:
                return 401, {}, {}
            self.opened += 1
            self.tokens[f"token-{self.opened}"] = f"{ROOT}/SessionService/Sessions/{self.opened}"
            return 201, {"X-Auth-Token": f"token-{self.opened}", "Location": self.tokens[f"token-{self.opened}"]}, {}
        if path == f"{ROOT}/":
            return 200, {}, self.tree[path]  # the root needs no authentication (DSP0266)
        basic = "Basic " + base64.b64encode(f"carbon:{self.password}".encode()).decode()
        token = handler.headers.get("X-Auth-Token", "")
        if token not in self.tokens and (self.has_sessions or handler.headers.get("Authorization") != basic):
            return 401, {}, {"error": {}}
        if handler.command == "DELETE":
            del self.tokens[token]
            return 204, {}, {}
        return (200, {}, self.tree[path]) if path in self.tree else (404, {}, {})


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BMC's own certificate, as they are delivered: signed by itself, for no name that anybody uses."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl (Debian: apt-get install openssl)")
    folder = tmp_path_factory.mktemp("bmc")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bmc"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    whole = folder / "both.pem"
    whole.write_text(key.read_text() + cert.read_text())
    return whole


@pytest.fixture
def serve(certificate: Path) -> Iterator[Callable[..., Service]]:
    """Start a BMC."""
    services: list[Service] = []

    def start(kind: str = "Power", watts: float | None = WATTS) -> Service:
        services.append(Service(resources(kind, watts), certificate))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file of user and password."""
    path = tmp_path / "redfish"
    path.write_text("carbon:s3cret\n")
    path.chmod(0o600)
    return path


def place(service: Service, secret: Path, chassis: str = "") -> Place:
    """Where the BMC is, and who asks it."""
    return Place("", "", "", "", service.url + chassis, str(secret), str(service.certificate))


def asked(service: Service, secret: Path, monkeypatch: pytest.MonkeyPatch, chassis: str = "") -> Redfish:
    """A meter that is asked by hand."""
    monkeypatch.setattr(Redfish, "_work", lambda _: None)
    return Redfish(place(service, secret, chassis), 2.0)


@pytest.mark.parametrize("kind", ["EnvironmentMetrics", "PowerSubsystem", "Power"])
def test_the_power_is_found_wherever_the_bmc_has_it(
    kind: str, serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new resources, the sum of the supplies' inputs, the old one's first entry; what a supply can take is nothing.
    Once it is known where, one request is enough, and one session.
    """
    service = serve(kind)
    meter = asked(service, secret, monkeypatch)
    first = meter.ask()
    service.asked.clear()
    second = meter.ask()

    assert first == second == (WATTS, "", True)
    assert len(service.asked) == (2 if kind == "PowerSubsystem" else 1)
    assert service.opened == 1
    meter.close()
    assert service.tokens == {}


def test_a_session_that_the_bmc_has_forgotten_is_opened_again(
    serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was rebooted, or the session timed out: the next answer is a power all the same."""
    service = serve()
    meter = asked(service, secret, monkeypatch)
    meter.ask()
    service.tokens.clear()

    assert meter.ask().watts == WATTS
    assert service.opened == 2


def test_a_bmc_without_sessions_is_asked_with_the_password(
    serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP Basic, which every service must know (DSP0266)."""
    service = serve()
    service.has_sessions = False

    assert asked(service, secret, monkeypatch).ask().watts == WATTS


def test_what_goes_wrong_is_said(
    serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wrong password, an error, no JSON, no figure (null while the host is off), 65,535 W, slowness: each a reason, and
    nothing is kept of it.
    """
    service = serve()
    meter = asked(service, secret, monkeypatch)
    service.password = "other"
    assert meter.ask().reason == "the BMC opens no session for 'carbon': HTTP status 401"
    service.password = "s3cret"
    service.status = 503
    assert "HTTP status 503" in meter.ask().reason
    service.status, service.raw = 0, b"<html>"
    assert meter.ask().reason.endswith("the answer is no JSON")
    service.raw = b"[1]"
    assert meter.ask().reason.endswith("the answer is no resource")
    service.raw = b""
    assert meter.ask().watts == WATTS
    service.tree = resources("Power", None)
    service.tree[f"{ROOT}/Chassis/1/Power"]["PowerControl"].pop()
    assert meter.ask().reason == "the power is not shown any more"
    assert meter.ask().reason == "no chassis shows its power"
    service.tree = resources("Power", 65_535)
    assert meter.ask().reason == "65535 W cannot be"
    service.tree = resources("Power", WATTS)
    service.slow_s = 20.0
    start_s = time.monotonic()
    assert meter.ask().reason
    assert time.monotonic() - start_s < 19
    service.slow_s = 0.0
    assert meter.ask() == (WATTS, "", True)


def test_a_bmc_of_several_systems_must_be_told_apart(
    serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chassis of four nodes: nothing is guessed, the reason says what to write; with the chassis named it is read."""
    service = serve()
    service.tree[f"{ROOT}/Systems"]["Members"].append(link(f"{ROOT}/Systems/2"))

    assert "serves 2 systems; name the chassis" in asked(service, secret, monkeypatch).ask().reason
    assert asked(service, secret, monkeypatch, f"{ROOT}/Chassis/1").ask().watts == WATTS


def test_a_certificate_that_is_not_the_bmcs_is_refused(
    serve: Callable[..., Service], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its certificate nobody is given the password."""
    service = serve()
    monkeypatch.setattr(Redfish, "_work", lambda _: None)
    stranger = Redfish(Place("", "", "", "", service.url, str(secret), ""), 2.0)

    assert "certificate" in stranger.ask().reason.lower()
    assert service.opened == 0


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("carbon:s3cret", 0o644, "others may read it"),
        ("carbon:s3cret", 0o640, "others may read it"),
        ("carbon", 0o600, "no line user:password"),
        ("", 0o600, "no line user:password"),
        (None, 0, "no such file"),
    ],
)
def test_credentials_are_roots_alone(content: str | None, mode: int, says: str, tmp_path: Path) -> None:
    """A file that others may read, or that is none, opens nothing; the message says what to do."""
    path = tmp_path / "redfish"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)

    with pytest.raises(Failed, match=says):
        credentials(str(path))


def test_credentials_may_have_a_colon(tmp_path: Path) -> None:
    """The password is what follows the first."""
    path = tmp_path / "redfish"
    path.touch(0o600)
    path.write_text("carbon:a:b \n")

    assert credentials(str(path)) == ("carbon", "a:b")
    assert path.stat().st_mode & 0o777 == 0o600


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["PowerWatts", "Reading", "PowerControl", "PowerConsumedWatts", "InputPowerWatts", "@odata.id"]
            ),
            inner,
            max_size=3,
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["PowerWatts", "PowerControl", "InputPowerWatts", "Members", "Power"]), JSON))
def test_no_answer_harms(resource: dict[str, Any]) -> None:
    """Whatever JSON a BMC answers with: a number of watts or none, and links that are links."""
    watts = redfish._watts(resource)

    assert watts is None or 0 <= watts < 1e9
    assert all(path.startswith("/") for path in redfish._links(resource.get("Members")))
    assert redfish._link(resource, "Power") == "" or redfish._link(resource, "Power").startswith("/")


def test_the_node_is_metered_by_its_bmc(
    serve: Callable[..., Service], secret: Path, tmp_path: Path, aggregator: Aggregator
) -> None:
    """The collector as a process: sockets + memory + other = the BMC's watts x time; its session ends with it; a BMC
    that hangs delays no reading.
    """
    service = serve()
    with stopping(Host(tmp_path, FileNode(tmp_path / "node"), aggregator)) as host:
        pace = "from carbon_collector.meters import redfish; redfish.PERIOD_S = 3.0; "
        host.program[-1] = host.program[-1].replace("from carbon_collector.cli", f"{pace}from carbon_collector.cli")
        settings = {"redfish": service.url, "redfish_credentials": secret, "redfish_ca": service.certificate}
        host.start(meters="powercap, redfish", **{key: str(value) for key, value in settings.items()})
        host.ticket("prolog", 1)
        eventually(lambda: "redfish" in host.last()["readings"], "the BMC has answered")
        for _ in range(80):  # until it is asked again, and longer
            host.node.count(200_000)
            time.sleep(0.05)
            host.tick()
        service.slow_s = 20.0
        start_s = time.monotonic()
        for _ in range(3):
            host.tick()
        hung_s = time.monotonic() - start_s
        service.slow_s = 0.0
        got = host.collect()

    assert hung_s < 19
    assert got.is_conserved()
    [row] = got.of("node_slot")
    other = row["components"]["other"]
    assert other["method"] == "integrated"
    whole = sum(share["energy_uj"] or 0 for share in row["components"].values())
    assert whole == pytest.approx(WATTS * other["metered_us"], rel=0.05)
    assert service.tokens == {}


def test_tls_and_json_are_loaded_only_where_a_bmc_is_named(tmp_path: Path) -> None:
    """They would double the memory of the collector on every node."""
    node = FileNode(tmp_path)
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]; from carbon_collector.meters import Meters, Place; "
        "m = Meters(['powercap', 'psu', 'dcmi', 'redfish'], Place(*sys.argv[2:], '', '')); m.read(); print(*sys.modules)"
    )
    folder = str(redfish.__file__).rpartition("/carbon_collector/")[0]
    args = [sys.executable, "-IS", "-c", program, folder, str(node.sys), str(node.proc)]
    loaded = subprocess.run(args, capture_output=True, text=True, check=True).stdout.split()

    assert not {"ssl", "json", "carbon_collector.meters.redfish", "carbon_collector.meters.psu"} & set(loaded)
