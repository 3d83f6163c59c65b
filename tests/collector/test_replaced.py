# SPDX-License-Identifier: MIT
"""The program's file is replaced under a running collector; a service is started beside one that a prolog has started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipapp
from pathlib import Path

import pytest

from carbon_collector import program
from carbon_collector.lock import Lock
from carbon_collector.program import Program

from .process import HERE, PATIENCE_S, Host, eventually

JOULE = 1_000_000


def build(root: Path, target: Path, version: str) -> None:
    """A zipapp of the collector; its modules lie elsewhere in it than in one of another version."""
    source = root / f"source-{version}"
    shutil.copytree(
        HERE / "carbon_collector", source / "carbon_collector", ignore=shutil.ignore_patterns("__pycache__")
    )
    (source / "aaa.py").write_text("#" * 1000 * len(version))
    (source / "__main__.py").write_text("import sys\nfrom carbon_collector.cli import main\nsys.exit(main())\n")
    init = source / "carbon_collector/__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', f'__version__ = "{version}'))
    new = target.with_suffix(".new")
    zipapp.create_archive(source, new, interpreter=f"{sys.executable} -IS")
    new.chmod(0o755)
    new.replace(target)


@pytest.mark.slow
def test_it_goes_on_as_the_new_program(host: Host, tmp_path: Path) -> None:
    """Same process, new version, not a joule lost; what it imports late comes from the new file as a whole."""
    target = tmp_path / "carbon-collector"
    build(tmp_path, target, "1.")
    host.program = [sys.executable, "-IS", str(target)]
    host.start()
    assert host.process is not None
    host.ticket("prolog", 7)
    host.node.count(10 * JOULE)
    host.tick()
    build(tmp_path, target, "2.replaced.")
    eventually(lambda: "was replaced" in host.said(), "it sees that", 10)
    host.node.count(10 * JOULE)
    host.tick()
    host.ticket("epilog", 7)
    same = host.process.poll() is None
    got = host.collect()

    assert same
    assert got.energy("cpu") == 40 * JOULE
    assert got.is_conserved()
    assert "Traceback" not in host.said()
    heads = [body.splitlines()[0].decode() for body in got.segments.values()]
    assert any('"collector":"2.replaced.' in head for head in heads)


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file is no program; one that is gone neither."""
    path = tmp_path / "program"
    path.write_text("old")
    os.utime(path, (1, 1))
    monkeypatch.setattr(program, "_path", lambda: str(path))
    running = Program()
    assert not running.was_replaced()
    path.write_text("half of")
    assert not running.was_replaced()
    path.unlink()
    assert not running.was_replaced()
    path.write_text("new, with the time that its package gave it")
    os.utime(path, (2, 2))

    assert running.was_replaced()


def test_its_own_file_is_found() -> None:
    """As a package on disk; in a zipapp it is the zipapp (the test above)."""
    assert program._path() == str(HERE / "carbon_collector/__init__.py")


def test_a_service_takes_over(host: Host) -> None:
    """The unit is started while a collector that a prolog started lingers: that one ends, and one is running afterwards."""
    host.start()
    first = host.process
    assert first is not None
    host.ticket("prolog", 7)
    host.node.count(10 * JOULE)
    host.tick()
    line = [*host.program, "run", "--take-over", "--node", host.node.name, "--config", str(host.configure())]
    with (host.root / "collector.err").open("ab") as err:
        host.process = subprocess.Popen(line, stderr=err, stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"})
    assert first.wait(10) == 0
    address = host.run_dir / "collector.pid"
    eventually(lambda: address.read_text() == f"{host.process.pid}\n", "the service is the collector now")  # type: ignore[union-attr]
    host.node.count(10 * JOULE)
    host.ticket("epilog", 7)
    got = host.collect()

    assert got.energy("cpu") == 40 * JOULE
    assert got.is_conserved()


def test_a_second_one_without_it_ends(host: Host) -> None:
    """What a prolog starts beside a running collector ends and leaves that alone."""
    host.start()
    line = [*host.program, "run", "--node", host.node.name, "--config", str(host.configure())]
    done = subprocess.run(line, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"}, timeout=60)

    assert done.returncode == 0
    assert host.process is not None
    assert host.process.poll() is None


def test_nobody_else_is_told_to_end(tmp_path: Path) -> None:
    """The process id of an innocent, of another user's process with a collector's name, or rubbish names no holder."""
    lock = Lock(str(tmp_path), str(tmp_path))
    for text in ("", "x", "-1", "0", "1", f"{os.getpid()}"):
        (tmp_path / "collector.pid").write_text(text)
        assert lock.holder() == 0
    if os.getuid() == 0:
        code = "import os, time; open('/proc/self/comm','w').write('carbon-collector'); os.setuid(65534); print(flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            (tmp_path / "collector.pid").write_text(str(other.pid))
            assert lock.holder() == 0
            other.send_signal(signal.SIGKILL)


def test_it_waits_for_one_that_does_not_end(tmp_path: Path) -> None:
    """Whoever has the lock and hears nothing is waited for, however long."""
    first, second = Lock(str(tmp_path), str(tmp_path)), Lock(str(tmp_path), str(tmp_path))
    assert first.take()
    assert not second.take(0)
    os.close(first._fd)
    start_s = time.monotonic()
    second.take_over()

    assert time.monotonic() - start_s < PATIENCE_S  # it asks nobody to end who is not there
    assert second.is_published()
