# SPDX-License-Identifier: MIT
"""The settings: what is wrong is said with the remedy; on a node it is a warning and the default holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from carbon_collector import settings
from carbon_collector.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def conf(folder: Path, text: str) -> str:
    """A configuration file."""
    path = folder / "carbon-acct.conf"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[collector]\nintervall = 1\n", "unknown setting 'intervall' in [collector]; did you mean 'interval'?"),
        ("[collectr]\nlinger = 1\n", "did you mean 'linger' in [collector]?"),
        ("[site]\ninterval = 1\n", "it belongs in [collector]"),
        ("[collector]\nxyzzy = 1\n", "unknown setting 'xyzzy'"),
        ("[collector]\ninterval = soon\n", "[collector] interval = soon: not a time"),
        ("[collector]\ninterval = 0\n", "not a time"),
        ("[collector]\ninterval = -1 s\n", "not a time"),
        ("[collector]\ninterval = 1.2.3\n", "not a time"),
        ("[collector]\ninterval = nan\n", "not a time"),
        ("[collector]\ninterval = 10 parsecs\n", "not a time"),
        ("[collector]\ninterval =\n", "not a time"),
        ("[collector]\nspool_limit = many\n", "not a number"),
        ("[collector]\nspool_limit = -1\n", "not a number that can be used"),
        ("[collector]\nspool_limit = inf\n", "not a number that can be used"),
        ("[collector]\nspool_limit = nan\n", "not a number that can be used"),
        ("[slurm]\nsource = oracle\n", "not one of auto, pyslurm, sacct"),
        ("[collector]\nrun_dir = run\n", "not a path from the root"),
        ("[collector]\nrun_dir =\n", "not a path from the root"),
        ("[collector]\naggregators = http://a:1, b:2\n", "'b:2' is not a URL; it looks like http://host:6829"),
        ("interval = 1\n", ":1: 'interval = 1' is neither a [section] nor a `key = value` in one"),
        ("[collector]\nlinger = 1\nlinger = 2\n", ":3: 'linger' is set twice in [collector]"),
        ("[collector\n", ":1: '[collector' is neither"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    """Strict: one line with file, setting and remedy. On a node: the same line as a warning, the rest holds."""
    path = conf(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        settings.load(path)
    lenient = settings.load(path, strict=False)

    assert said in str(caught.value)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)
    assert lenient.warnings == [str(caught.value)]
    assert lenient.number("collector", "interval") == 10.0
    assert lenient.text("collector", "run_dir") == "/run/carbon-acct"


def test_a_good_line_survives_a_bad_one(tmp_path: Path) -> None:
    """One wrong setting on a node takes only itself away."""
    found = settings.load(conf(tmp_path, "[collector]\nrun_dir = /r/%n\nfoo = 1\nlinger = x\n"), "n7", strict=False)

    assert found.text("collector", "run_dir") == "/r/n7"
    assert len(found.warnings) == 2
    assert found.origin("collector", "run_dir").endswith("carbon-acct.conf")
    assert found.origin("collector", "linger") == "default"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Named and missing is an error; a folder, a binary: an error; on a node the defaults hold."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "folder", "binary"):
        with pytest.raises(SettingsError):
            settings.load(str(tmp_path / name))
        assert len(settings.load(str(tmp_path / name), strict=False).warnings) == 1


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CARBON_ACCT_CONF, unless the command line says otherwise."""
    monkeypatch.setenv("CARBON_ACCT_CONF", conf(tmp_path, "[site]\nname = here\n"))

    assert settings.load().text("site", "name") == "here"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10 s", 10), ("1.5m", 90), ("2 H", 7200), ("500 ms", 0.5), ("1 d", 86400), (" Forever ", math.inf)],
)
def test_times(text: str, seconds: float) -> None:
    """With a unit or without."""
    assert settings.parse_seconds(text) == seconds


def test_percent_n_is_for_paths_only(tmp_path: Path) -> None:
    """A URL or a name keeps it."""
    text = "[site]\nname = 100%n\n[collector]\nspool_dir = /s/%n/%n\nsysfs = /%n\n"
    found = settings.load(conf(tmp_path, text), "n1")

    assert found.text("site", "name") == "100%n"
    assert (found.text("collector", "spool_dir"), found.text("collector", "sysfs")) == ("/s/n1/n1", "/n1")


def test_the_example_is_the_defaults(tmp_path: Path) -> None:
    """Every setting is in it, at its default; uncommented it still loads."""
    text = settings.example()
    bare = "\n".join(line[1:] if line.startswith("#") and line[1:2] != " " else line for line in text.splitlines())
    found = settings.load(conf(tmp_path, bare), "n1")

    for s in settings.SETTINGS:
        assert found.text(s.section, s.key) == s.default
        assert f"#{s.key} = {s.default}".rstrip() in text


def test_the_aggregators_of_a_single_machine(tmp_path: Path) -> None:
    """None named: this host's own."""
    assert settings.load(conf(tmp_path, "")).aggregators() == ["http://127.0.0.1:6829"]
    assert settings.load(conf(tmp_path, "[collector]\naggregators = http://a:1 https://b\n")).aggregators() == [
        "http://a:1",
        "https://b",
    ]


def test_the_dialect_is_the_prologs(tmp_path: Path) -> None:
    """`=` or `:`, blanks around, comments on lines of their own and after a blank; a `#` inside a value stays."""
    text = "; a comment\n[Collector]\n[collector]\n# another\n  INTERVAL : 5 s  ; soon\nrun_dir=/run/a#b # not this\n\n"
    found = settings.load(conf(tmp_path, text))

    assert found.number("collector", "interval") == 5
    assert found.text("collector", "run_dir") == "/run/a#b"
