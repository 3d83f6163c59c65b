# SPDX-License-Identifier: MIT
"""The emulated machine from outside: its disks, its boots, what it wrote.

Two disks: `base.img` (Debian with Slurm, made once, never written to: each run has an overlay) and the
exchange, which carries the product in and the results out. Folder: build/vm.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

from simulator import hardware

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FOLDER = CHECKOUT / "build" / "vm"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
NICE = ["nice", "-n", "19"]
# Emulated on purpose, although /dev/kvm may exist: where it does not work it hangs, and a test should not.
QEMU = (
    "qemu-system-x86_64 -machine q35,sata=off,smbus=off,vmport=off -accel tcg,thread=multi -cpu qemu64,-svm,+rdrand -smp 2 -m 3072 "
    "-nodefaults -display none -serial stdio -no-reboot "
    "-kernel {base}/vmlinuz -initrd {base}/initrd.img "
    "-drive file={overlay},if=virtio,format=qcow2,cache=unsafe -drive file={exchange},if=virtio,format=raw,cache=unsafe"
)
KERNEL = "root=/dev/vda rw console=ttyS0 quiet mitigations=off systemd.show_status=1 systemd.firstboot=no systemd.mask=serial-getty@ttyS0.service systemd.mask=getty@tty1.service"
BOOT_S = 1800
SILENT_S = 240
"""A machine that has not said a word by then hangs: now and then an emulated kernel does before it has begun to speak."""
BOOTS = 4
SAYS = "inside: "
"""What inside.py puts before a line for people; the console has the kernel's and systemd's as well."""


class MachineError(Exception):
    """The machine could not be made or did not come to its end; the text says why."""


class SilentError(MachineError):
    """The machine never said a word. Nothing on its disks has changed."""


def missing() -> str:
    """What this host lacks to emulate the machine; empty if nothing."""
    if os.geteuid() != 0:
        return "root is needed (debootstrap)"
    lack = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    return f"these Debian packages are not installed: {' '.join(lack)}" if lack else ""


def run(say: Callable[[str], None] = print) -> Path:
    """Make what is not there, boot twice; returns the folder with the results. Raises MachineError."""
    base = make_base(say)
    overlay, exchange, results = FOLDER / "overlay.qcow2", FOLDER / "exchange.img", FOLDER / "results"
    say("exchange disk")
    make_exchange(exchange)
    overlay.unlink(missing_ok=True)
    command("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base / "base.img"), "-F", "raw", str(overlay))
    shutil.rmtree(results, ignore_errors=True)
    try:
        for number in (1, 2):
            say(f"boot {number}")
            boot_speaking(number, QEMU.format(base=base, overlay=overlay, exchange=exchange).split(), say)
            read_results(exchange, results)
            error = results / "error.txt"
            if error.exists():
                raise MachineError(f"in the machine: {error.read_text()}")
    finally:
        overlay.unlink(missing_ok=True)
    return results


def make_base(say: Callable[[str], None]) -> Path:
    """The folder with base.img, vmlinuz and initrd.img; built where base.sh or the libraries have changed."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = "".join(f"{line}\n" for line in project["optional-dependencies"]["server"])
    mark = hashlib.sha256((HERE / "base.sh").read_bytes() + wanted.encode()).hexdigest()[:12]
    folder = FOLDER / "base"
    if (folder / "mark").is_file() and (folder / "mark").read_text() == mark:
        return folder
    say(f"no base image yet (or an old one): building it from {MIRROR}, once; log: {folder}/base.log")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text(wanted)
    with (folder / "base.log").open("wb") as log:
        argv = [*NICE, "sh", str(HERE / "base.sh"), str(folder), MIRROR]
        pip = {"PIP": f"{sys.executable} -m pip"}
        done = subprocess.run(argv, stdout=log, stderr=log, env=os.environ | pip, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        tail = (folder / "base.log").read_text(errors="replace").splitlines()[-5:]
        raise MachineError("\n".join([f"the base image could not be built (is {MIRROR} reachable?):", *tail]))
    (folder / "mark").write_text(mark)
    return folder


def make_exchange(image: Path) -> None:
    """The disk that carries the product in: what an administrator would have copied to the machine."""
    tree = FOLDER / "exchange"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in ("root", "inside.py", "install.sh", "start", "witness.py"):
        copy(HERE / name, tree / name)
    (tree / "simulator").mkdir()
    for source in sorted((HERE.parent / "simulator").glob("*.py")):
        shutil.copy(source, tree / "simulator")
    shutil.copy(CHECKOUT / "dist" / "carbon-collector", tree)
    shutil.copy(CHECKOUT / "collector" / "carbon-collector.service", tree)
    shutil.copy(CHECKOUT / "prolog" / "carbon-acct.sh", tree)
    hardware.save(tree / "hardware.json", nodes())
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tree), str(CHECKOUT)]
    command(*pip)
    (tree / "results").mkdir()
    image.unlink(missing_ok=True)
    # Without a journal it can be read whatever became of the machine.
    command(*NICE, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(tree), str(image), "256M")
    shutil.rmtree(tree)


def nodes() -> list[hardware.Node]:
    """The hardware that the two nodes show; counters begin at zero, as after a reset of a machine."""
    start = {"cpus": 8, "memory_mib": 1024, "package_start_uj": 0, "dram_start_uj": 0}
    return [hardware.Node(name, **start) for name in ("n1", "n2")]


def boot_speaking(number: int, qemu: list[str], say: Callable[[str], None]) -> None:
    """Run the machine, again if it hangs before its first word. Raises MachineError."""
    for _ in range(BOOTS - 1):
        try:
            return boot(number, qemu, say)
        except SilentError as err:
            say(f"   {err}; once more")
    return boot(number, qemu, say)


def boot(number: int, qemu: list[str], say: Callable[[str], None]) -> None:
    """Run the machine until it switches itself off or resets. Raises MachineError if it does neither."""
    console = FOLDER / f"console-{number}.log"
    with console.open("wb") as log:
        process = subprocess.Popen([*NICE, *qemu, "-append", KERNEL], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _follow(process, console, say)
        finally:
            process.kill()
            process.wait()
    if process.returncode not in (0, -9):
        raise MachineError(f"qemu ended with {process.returncode}: {console.read_text(errors='replace')[-500:]}")


def _follow(process: subprocess.Popen[bytes], console: Path, say: Callable[[str], None]) -> None:
    """Show what the machine says of itself until it is off."""
    begun = time.monotonic()
    shown = 0
    while process.poll() is None:
        if time.monotonic() > begun + SILENT_S and not console.stat().st_size:
            raise SilentError(f"the machine did not say a word in {SILENT_S} s")
        if time.monotonic() > begun + BOOT_S:
            raise MachineError(f"the machine was not off after {BOOT_S} s; its console: {console}")
        whole = console.read_bytes().rpartition(b"\n")[0]
        for line in whole[shown:].decode(errors="replace").splitlines():
            if SAYS in line:
                say("   " + line.partition(SAYS)[2])
        shown = len(whole)
        time.sleep(0.5)


def read_results(image: Path, folder: Path) -> None:
    """Copy the results out of the exchange disk."""
    shutil.rmtree(folder, ignore_errors=True)
    command("debugfs", "-R", f"rdump /results {FOLDER}", str(image))
    if not (folder / "result.json").exists() and not (folder / "error.txt").exists():
        raise MachineError(f"the machine left no result; its console: {FOLDER}/console-1.log")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def command(*argv: str) -> None:
    """Run a program. Raises MachineError with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise MachineError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")


if __name__ == "__main__":
    print(run())
