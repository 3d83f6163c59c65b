# SPDX-License-Identifier: MIT
"""The man pages say what the programs do: neither more options and fields than there are, nor fewer."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from carbon_acct.cli import acct, mgr
from carbon_acct.cli.acct import show
from carbon_acct.cli.estimate import paper
from carbon_acct.client.estimate.options import OWN
from carbon_job import cli as track
from carbon_reports import cli as report

ROOT = Path(__file__).parents[3]
MAN = ROOT / "docs" / "man"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
PARSERS = {
    "carbon-acct.1": acct.parser,
    "carbon-report.1": report.parser,
    "carbon-mgr.8": mgr.parser,
    "carbon-track.1": track.parser,
}


def page(name: str) -> str:
    """A page's source, with hyphens as people read them."""
    return (MAN / name).read_text(encoding="utf-8").replace("\\-", "-")


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All options, those of subcommands included."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= options_of(command)
    return found


def test_generated_parts_are_up_to_date() -> None:
    """`python docs/man/generate.py` would change nothing: fields and settings are described as the program knows them."""
    spec = importlib.util.spec_from_file_location("man_generate", MAN / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    for path, text in generate.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: python docs/man/generate.py"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_program_has_a_page(name: str) -> None:
    """Whatever is installed as a command can be looked up with man."""
    (found,) = MAN.glob(f"{name}.[18]")

    assert f".TH {name.upper()} {found.suffix[1:]} " in page(found.name)


@pytest.mark.parametrize("name", PARSERS)
def test_options_are_those_of_the_program(name: str) -> None:
    """Every option is in the page, and every option in the page is one."""
    source = page(name)
    text = source[source.index(".SH OPTIONS") :] if name == "carbon-acct.1" else source
    described = {
        option
        for line in text[: text.find(".SH FIELDS")].splitlines()
        if line.startswith((".BR ", ".B ", ".RB "))
        for option in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", line)
    }

    more = options_of(show.parser()) if name == "carbon-acct.1" else set()
    assert described == options_of(PARSERS[name]()) | more


def test_options_of_carbon_estimate() -> None:
    """Every option of its own is in the page, sbatch's are named, and every option in the page is one."""
    described = {
        option
        for line in page("carbon-estimate.1").splitlines()
        if line.startswith((".BR ", ".B ", ".BI ")) and not line.startswith(".BR sbatch")
        for option in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", line.replace("\\fI", " "))
    }
    own = {f"--{option.name}" for option in OWN} | {f"-{option.letter}" for option in OWN if option.letter}

    assert described == own | options_of(paper.parser())


@pytest.mark.parametrize("path", sorted(MAN.glob("*.[158]")), ids=lambda path: path.name)
def test_man_has_nothing_to_complain_of(path: Path) -> None:
    """Every page is formatted without a warning of groff."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed (Debian: apt-get install man-db)")
    done = subprocess.run(["man", "--warnings", "-l", path], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "SEE ALSO" in re.sub(".\b", "", done.stdout)
