# SPDX-License-Identifier: MIT
"""What stands in for the standard library's wrappers does as they do."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import sysconfig
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.lean import json as lean_json
from carbon_collector.lean.typing import NamedTuple

from .node import FileNode

COLLECTOR = Path(__file__).parents[2] / "collector"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
WRAPPERS = (
    "typing",
    "re",
    "enum",
    "json",
    "configparser",
    "socket",
    "selectors",
    "threading",
    "contextlib",
    "functools",
)


class Pair(NamedTuple):
    """Two things, the second with a default."""

    first: int
    second: str = "x"

    def doubled(self) -> int:
        """A method sees the fields."""
        return self.first * 2


Standard = namedtuple("Pair", ("first", "second"), defaults=("x",))


@given(st.integers(), st.text())
def test_a_named_tuple_is_one(first: int, second: str) -> None:
    """Made, compared, unpacked, replaced, shown, copied and pickled as the standard one."""
    ours, standard = Pair(first, second), Standard(first, second)

    assert ours == standard == (first, second)
    assert hash(ours) == hash(standard)
    assert repr(ours) == repr(standard)
    assert [*ours] == [ours.first, ours.second]
    assert ours.doubled() == 2 * first
    assert ours._replace(first=7) == Pair(7, second) == Pair(second=second, first=7)
    assert (ours._asdict(), Pair._fields) == (standard._asdict(), Standard._fields)
    assert copy.deepcopy(ours) == pickle.loads(pickle.dumps(ours)) == ours
    assert type(ours._replace(first=7)) is Pair


def test_a_named_tuple_takes_its_fields_and_nothing_else() -> None:
    """Defaults fill in; what is missing or unknown is a TypeError; nothing can be set."""
    assert Pair(1) == (1, "x")
    for arguments in ({}, {"first": 1, "third": 2}):
        with pytest.raises(TypeError):
            Pair(**arguments)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Pair(1).first = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Pair(1).third = 2  # type: ignore[attr-defined]


@given(VALUES)
def test_json_is_the_librarys(value: Any) -> None:
    """What is written the library reads, and the other way round."""
    assert json.loads(lean_json.dumps(value)) == value
    assert lean_json.loads(json.dumps(value, indent=1)) == value
    assert lean_json.dumps(value) == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("text", ["", "{", "[1,]", "1 2", "nul", '"\n"', '{"a":1,}', b"\xff", "[1}"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    """Torn, foreign, or with something behind it."""
    with pytest.raises(ValueError):  # noqa: PT011 - any kind of it
        lean_json.loads(text)


def test_what_json_has_not_is_refused() -> None:
    """A set, a NaN: an error, not something that another program reads otherwise."""
    with pytest.raises(TypeError):
        lean_json.dumps({1, 2})
    with pytest.raises(ValueError, match="JSON"):
        lean_json.dumps(float("nan"))


def test_the_collector_does_without_the_wrappers() -> None:
    """Each costs a tenth of the budget that a node gives us; one careless import brings them all back."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import carbon_collector.cli, carbon_collector.daemon; "
        "import carbon_collector.meters.powercap; print(*sys.modules)"
    )
    args = [sys.executable, "-IS", "-c", program, str(COLLECTOR)]
    loaded = subprocess.run(args, capture_output=True, text=True, check=True).stdout.split()

    assert not set(WRAPPERS) & set(loaded)


def test_pynvml_is_imported_only_where_a_driver_is(tmp_path: Path) -> None:
    """It and ctypes are two megabytes that a node without GPUs does not pay; it says that there is no driver."""
    program = (
        "import sys; sys.path += sys.argv[1:3]; "
        "from carbon_collector.meters import Meters, Place, nvml; nvml.LOADER_CACHE = '/nowhere'; "
        "found = Meters(['powercap', 'nvml', 'model'], Place(*sys.argv[3:], '', '')); "
        "print(found.missing['gpu'], *sys.modules, sep='\\n')"
    )
    node = FileNode(tmp_path)
    libraries = sysconfig.get_path("purelib")
    args = [sys.executable, "-IS", "-c", program, str(COLLECTOR), libraries, str(node.sys), str(node.proc)]
    why, *loaded = subprocess.run(args, capture_output=True, text=True, check=True).stdout.splitlines()

    assert "no NVIDIA driver" in why
    assert "carbon_collector.meters.nvml" in loaded
    assert not {"pynvml", "ctypes"} & set(loaded)
