# SPDX-License-Identifier: MIT
"""Writes completion scripts for Bash, zsh and fish out of a parser: names of options, fields, states and words.

The scripts ask nobody while they complete: neither the aggregator nor Slurm.
"""

from __future__ import annotations

import argparse

from carbon_collector.lean.typing import TYPE_CHECKING

from .fields import FIELDS
from .job_states import STATES
from .usage import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WORDS: dict[str, tuple[str, ...]] = {
    "--format": tuple(field.name for field in FIELDS),
    "--state": tuple(STATES.values()),
    "--by": DIMENSIONS,
    "--month": ("this", "last"),
    "--units": ("K", "M", "G", "T", "P", "Wh", "kWh", "MWh", "kJ", "MJ", "g", "kg", "t"),
    "--starttime": ("today", "midnight", "now-1hours", "now-1days", "now-7days"),
    "--endtime": ("now", "today"),
}
"""The words that may follow an option, by its long name."""
LISTS = ("--format", "--state", "--by")
"""The options whose words may be several, with commas between."""


def scripts(program: str, parser: argparse.ArgumentParser, commands: Iterable[str]) -> dict[str, str]:
    """Return the script of each shell, by the name of the shell. `commands` may stand in place of the first option."""
    actions = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    makers: dict[str, Callable[[str, list[argparse.Action], list[str]], str]] = {
        "bash": _bash,
        "zsh": _zsh,
        "fish": _fish,
    }
    return {shell: make(program, actions, list(commands)) for shell, make in makers.items()}


def _words(action: argparse.Action) -> tuple[str, ...]:
    if action.choices:
        return tuple(map(str, action.choices))
    return next((WORDS[name] for name in action.option_strings if name in WORDS), ())


def _is_list(action: argparse.Action) -> bool:
    return any(name in LISTS for name in action.option_strings)


def _takes(action: argparse.Action) -> bool:
    return action.nargs is None


def _head(program: str) -> str:
    return f"# Completion of {program}. Written by docs/man/generate.py from the program's parser.\n"


def _bash(program: str, actions: list[argparse.Action], commands: list[str]) -> str:
    options = " ".join(name for action in actions for name in action.option_strings)
    cases = [
        f'        {"|".join(action.option_strings)}) words="{" ".join(_words(action))}"'
        f"{' list=,' if _is_list(action) else ''} ;;\n"
        for action in actions
        if _words(action)
    ]
    plain = "|".join(
        name for action in actions if _takes(action) and not _words(action) for name in action.option_strings
    )
    name = "_" + program.replace("-", "_")
    return (
        _head(program)
        + f"""{name}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words="" list="" head=""
    if [[ $current == "=" ]]; then current=""; fi
    if [[ $before == "=" ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    case $before in
{"".join(cases)}        {plain}) return ;;
        *)
            words="{options}"
            if ((COMP_CWORD == 1)); then words+=" {" ".join(commands)}"; fi ;;
    esac
    if [[ $list && $current == *,* ]]; then
        head=${{current%,*}},
        current=${{current##*,}}
    fi
    mapfile -t COMPREPLY < <(shopt -s nocasematch; for word in $words; do
        if [[ $word == "$current"* ]]; then printf '%s\\n' "$head$word"; fi
    done)
    if [[ $list && ${{#COMPREPLY[@]}} -gt 0 ]]; then compopt -o nospace; fi
}}
complete -F {name} {program}
"""
    )


def _zsh(program: str, actions: list[argparse.Action], commands: list[str]) -> str:
    lines = []
    for action in actions:
        says = _quoted(action.help or "")
        words = " ".join(_words(action))
        if _takes(action):
            metavar = str(action.metavar or "value").lower()
            after = f":{metavar}:" + (
                f"_values -s , {metavar} {words}" if _is_list(action) else f"({words})" if words else ""
            )
        else:
            after = f"::value:({words})" if words else ""
        lines += [
            f"    '{name}{'=' if after and name.startswith('--') else ''}[{says}]{after}'"
            for name in action.option_strings
        ]
    first = f"    '1::command:({' '.join(commands)})'"
    return f"#compdef {program}\n{_head(program)}_arguments \\\n" + " \\\n".join([*lines, first]) + "\n"


def _quoted(text: str) -> str:
    plain = text.replace("%%", "%").replace("'", "")
    return plain.replace("\\", "").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _fish(program: str, actions: list[argparse.Action], commands: list[str]) -> str:
    lines = [f"complete -c {program} -f", f"complete -c {program} -n __fish_is_first_arg -a '{' '.join(commands)}'"]
    for action in actions:
        names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in action.option_strings)
        words = " ".join(_words(action))
        takes = " -x" if _takes(action) else ""
        says = (action.help or "").replace("%%", "%").replace("\\", "").replace("'", "")
        given = f"(__fish_append , {words})" if _is_list(action) else words
        lines.append(f"complete -c {program} {names}{takes}" + (f" -a '{given}'" if words else "") + f" -d '{says}'")
    return _head(program) + "\n".join(lines) + "\n"
