# SPDX-License-Identifier: MIT
"""Runs the script as slurmd does, under each shell that is somebody's /bin/sh."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipapp
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
PROLOG = CHECKOUT / "prolog/carbon-acct.sh"
EPILOG = CHECKOUT / "epilog/carbon-acct.sh"
PATIENCE_S = 5.0
BOUND_S = 1.0
"""What a script may take here at most; it takes milliseconds, but the machine may be busy."""


@dataclass(frozen=True)
class Outcome:
    """How a script ended."""

    status: int
    said: str
    took_s: float


class Slurmd:
    """Runs scripts in their own process group, reads their output to its end, then kills what is left of the group."""

    def __init__(self, shell: str, root: Path) -> None:
        self.shell = shell
        self.root = root
        self.run_dir = root / "run"
        self.conf = root / "carbon-acct.conf"
        self.conf.write_text(f"[collector]\nrun_dir = {self.run_dir}\n")

    @property
    def tickets(self) -> list[Path]:
        """The tickets that wait."""
        return sorted(self.run_dir.glob("tickets/*"))

    def run(
        self, script: Path = PROLOG, env: dict[str, str] | None = None, before: str = "", private: bool = False
    ) -> Outcome:
        """Run a script; `before` is shell code that its own process executes first, `private` in its own mounts."""
        args = ["sh", str(script)]
        if before or private:
            args = [
                "sh",
                "-c",
                f'{before}\nexec -a sh "$0" "$@"' if "bash" in self.shell else f'{before}\nexec "$0" "$@"',
            ]
            args += [self.shell, str(script)]
        executable = self.shell
        if private:
            args = [*unshare(), self.shell, *args[1:]]
            executable = args[0]
        given = {"CARBON_ACCT_CONF": str(self.conf), **(env or {})}
        start = time.monotonic()
        with subprocess.Popen(
            args,
            executable=executable,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        ) as process:
            out, _ = process.communicate(timeout=PATIENCE_S)
            took = time.monotonic() - start
            for how in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, how)
                    time.sleep(0.01)  # as slurmd does, where there is anybody left
        return Outcome(process.returncode, out.decode("utf-8", "replace"), took)


def unshare() -> list[str]:
    """A command that gives mounts of one's own, as root or as a user who may; skips where neither works."""
    for args in (["/usr/bin/unshare", "--mount"], ["/usr/bin/unshare", "--user", "--map-root-user", "--mount"]):
        if subprocess.run([*args, "/bin/true"], capture_output=True, check=False).returncode == 0:
            return args
    pytest.skip("no mounts of one's own: neither root nor user namespaces")


@pytest.fixture(params=["dash", "bash"])
def slurmd(request: pytest.FixtureRequest, tmp_path: Path) -> Slurmd:
    """Debian's /bin/sh is dash, that of RHEL and SUSE is bash."""
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not installed")
    return Slurmd(shell, tmp_path)


@pytest.fixture(scope="session")
def zipped_collector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collector as one file, as it is deployed."""
    folder = tmp_path_factory.mktemp("zipapp")
    source = folder / "source"
    shutil.copytree(CHECKOUT / "collector/carbon_collector", source / "carbon_collector")
    (source / "__main__.py").write_text("import sys\nfrom carbon_collector.cli import main\nsys.exit(main())\n")
    target = folder / "carbon-collector"
    zipapp.create_archive(source, target, interpreter=f"{sys.executable} -IS")
    target.chmod(0o755)
    return target


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Stands for a running collector: a process of its name that tells each wake-up by a line in `woken`."""
    code = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})\n"
        "open('/proc/self/comm', 'w').write('carbon-collecto')\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    signal.sigwait({signal.SIGURG})\n"
        "    print('woken', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
