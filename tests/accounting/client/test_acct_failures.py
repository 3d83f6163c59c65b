# SPDX-License-Identifier: MIT
"""What carbon-acct says and returns where something fails: the aggregator, munged, its configuration, its output."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from accounting.client.jobs import (
    job,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Aggregator, Outcome

pytestmark = pytest.mark.usefixtures("one_job")

REFUSALS = {
    "unauthorised": (401, 1, "{url} refuses: Replayed credential"),
    "forbidden": (403, 1, "{url} refuses: Replayed credential"),
    "bad parameter": (400, 2, "Replayed credential"),
    "not found": (404, 1, "{url} answers 404: Replayed credential; is this the URL of a carbon-aggregator?"),
}


@pytest.mark.parametrize(("http", "status", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, http: int, status: int, message: str
) -> None:
    """The aggregator's reason is passed on in one line; a bad parameter is a matter of usage."""
    aggregator.refuses(http, "Replayed\ncredential")

    done = carbon_acct()

    assert (done.status, done.out) == (status, "")
    assert done.err == f"carbon-acct: {message.format(url=aggregator.url)}\n"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"job": []}', b"{}\xff"])
def test_something_else_answers(carbon_acct: Callable[..., Outcome], aggregator: Aggregator, body: bytes) -> None:
    """An answer that is not an aggregator's is said to be none, in one line."""
    aggregator.body = body

    done = carbon_acct()

    assert (done.status, done.out) == (1, "")
    assert (
        done.err == f"carbon-acct: {aggregator.url} answers, but not as a carbon-aggregator does; is the URL right?\n"
    )


def test_next_aggregator_is_tried(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, configure: Callable[..., Path]
) -> None:
    """Where the first aggregator does not listen, the next one is asked."""
    configure(f"http://127.0.0.1:{_free_port()}", aggregator.url)

    done = carbon_acct("-nP", "-o", "jobid")

    assert (done.status, done.out, done.err) == (0, "12\n", "")


def test_nobody_answers(
    carbon_acct: Callable[..., Outcome], configure: Callable[..., Path], aggregator: Aggregator
) -> None:
    """Where no aggregator answers, one line names each URL, its reason, and what to look at."""
    aggregator.refuses(503, "no database")
    dead = f"http://127.0.0.1:{_free_port()}"
    configure(dead, aggregator.url)

    done = carbon_acct()

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"no answer from {dead}: " in done.err
    assert f"{aggregator.url} answers 503: no database" in done.err
    assert "is carbon-aggregator running there, and [collector] aggregators in the configuration right?" in done.err


def test_no_munge(carbon_acct: Callable[..., Outcome], configure: Callable[..., Path], tmp_path: Path) -> None:
    """Without munged there is one line that says so, and no request."""
    configure("http://127.0.0.1:1", slurm={"munge_socket": str(tmp_path / "none")})

    done = carbon_acct()

    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "is munged running?" in done.err


def test_wrong_configuration(carbon_acct: Callable[..., Outcome], configure: Callable[..., Path]) -> None:
    """A setting that does not exist is one line that names the file and the nearest setting."""
    path = configure("http://127.0.0.1:1", site={"zonee": "DE"})

    done = carbon_acct()

    assert (done.status, done.err) == (
        1, f"carbon-acct: {path}: unknown setting 'zonee' in [site]; did you mean 'zone'?\n",
    )  # fmt: skip


def test_an_error_cannot_drive_the_terminal(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """Escape sequences from the command line or the aggregator reach stderr as visible text."""
    aggregator.refuses(403, "\x1b]0;owned\x07")

    assert carbon_acct("-o", "\x1b[2J").err.startswith("carbon-acct: unknown field '\\x1b[2J'")
    assert carbon_acct().err.endswith(" refuses: \\x1b]0;owned\\x07\n")


def test_debug_shows_where(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """--debug lets the error through with its traceback."""
    aggregator.refuses(403, "no")

    with pytest.raises(Exception, match="refuses: no"):
        carbon_acct("--debug")


def _program(*argv: str) -> list[str]:
    return [sys.executable, "-m", "carbon_acct.cli.acct", *argv]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_broken_pipe_is_silent(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """A reader that goes away ends the program silently, with the status a C program would have."""
    configure(aggregator.url)
    aggregator.says(*[job(job_id=str(number), job_id_raw=number) for number in range(5000)])
    with subprocess.Popen(_program("-a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()

        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_full_disk_is_said(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """Output that cannot be written is an error, not a silent success."""
    configure(aggregator.url)
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123  a device
        done = subprocess.run(_program("-a"), stdout=full, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (1, b"carbon-acct: No space left on device\n")


def test_interrupt_is_silent(configure: Callable[..., Path]) -> None:
    """Ctrl-C while the aggregator thinks: exit 130 and not a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        configure(f"http://127.0.0.1:{server.getsockname()[1]}")
        # A shell's background job ignores SIGINT, and so would what it starts.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        with subprocess.Popen(_program("-a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard) as process:
            connection, _ = server.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, b"", b"")


def test_terminal_without_utf8(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """On a terminal that knows only ASCII a name outside it is shown as an escape."""
    configure(aggregator.url)
    aggregator.says(job(name="Übung"))
    done = subprocess.run(
        _program("-nP", "-o", "jobname"),
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xdcbung\n", b"")


def test_imports_are_lean() -> None:
    """--version loads neither the database nor the web framework, nor anything else outside the standard library."""
    code = "import sys, carbon_acct.cli.acct as a\ntry: a.main(['-V'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    ours = {"carbon_acct", "carbon_collector", "__main__", "__mp_main__", "sitecustomize"}
    foreign = {name for name in loaded - ours - set(sys.stdlib_module_names) if not name.startswith(("_", "distutils"))}
    assert foreign == set()
    assert "json" not in loaded
    assert "configparser" not in loaded
    assert "shutil" not in loaded
