# SPDX-License-Identifier: MIT
"""Builds the collector as one file for the nodes: `python3 packaging/build_zipapp.py OUTPUT`.

It needs this Python and one file of PyPI's nvidia-ml-py, `pynvml.py`, and nothing else. The same sources, the same pynvml.py
and the same Python give the same bytes.

Byte code of this Python lies beside the sources: a node with the same Python starts the program three times faster and in half
the memory, and any other Python compiles the sources. The byte code is not checked against times of files, which a node in
another time zone would read differently.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "collector" / "carbon_collector"
INTERPRETER = b"#!/usr/bin/python3 -IS\n"
FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of every member: a zip file knows no earlier one."""
NOT_FOUND = """\
build_zipapp.py: pynvml.py was not found: not named by $PYNVML, and not in build/pynvml, this Python or .venv.
Get it by: python3 -m pip install --target build/pynvml nvidia-ml-py"""


def main() -> int:
    """Build the file and return the exit status."""
    if len(sys.argv) != 2:
        print("usage: python3 packaging/build_zipapp.py OUTPUT", file=sys.stderr)
        return 2
    pynvml = find_pynvml()
    if pynvml is None:
        print(NOT_FOUND, file=sys.stderr)
        return 1
    build(Path(sys.argv[1]), pynvml)
    return 0


def find_pynvml() -> Path | None:
    """Return pynvml.py: the one that $PYNVML names, else that of build/pynvml, of this Python or of .venv; None if there is none."""
    named = os.environ.get("PYNVML")
    spec = importlib.util.find_spec("pynvml")
    own = [CHECKOUT / "build/pynvml/pynvml.py", Path(spec.origin if spec and spec.origin else "none")]
    places = [Path(named)] if named else [*own, *CHECKOUT.glob(".venv/lib/python3*/site-packages/pynvml.py")]
    return next((path for path in places if path.is_file()), None)


def build(output: Path, pynvml: Path) -> None:
    """Write the file to `output`."""
    members = {f"carbon_collector/{path.relative_to(PACKAGE)}": path.read_bytes() for path in sources()}
    members["pynvml.py"] = pynvml.read_bytes()
    entry = members["carbon_collector/__main__.py"]
    members["__main__.py"] = entry.replace(b"from .cli import", b"from carbon_collector.cli import")
    for name in [name for name in members if name.endswith(".py")]:
        members[f"{name}c"] = byte_code(name, members[name])
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(f"{output.name}.new")
    with new.open("wb") as file:
        file.write(INTERPRETER)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in sorted(members.items()):
                archive.writestr(member(name), data)
    new.chmod(0o755)
    new.replace(output)


def sources() -> list[Path]:
    """Return the files of the package: its modules and its tables."""
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".csv"))


def byte_code(name: str, source: bytes) -> bytes:
    """Return the byte code of a module, without its docstrings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.py")
        path.write_bytes(source)
        compiled = Path(folder, "module.pyc")
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(path), str(compiled), name, doraise=True, optimize=2, invalidation_mode=unchecked)
        return compiled.read_bytes()


def member(name: str) -> zipfile.ZipInfo:
    """Return the entry of a member: a plain file, mode 0644."""
    info = zipfile.ZipInfo(name, FIRST_ZIP_TIME)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info


if __name__ == "__main__":
    sys.exit(main())
