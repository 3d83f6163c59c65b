# SPDX-License-Identifier: MIT
"""Writes what the program knows itself: settings, fields and habits in the man pages, and the completion scripts.

`python docs/man/generate.py` rewrites them in place; a test fails where they are not what it would write.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from carbon_acct.cli import acct
from carbon_acct.client import completion
from carbon_acct.client.fields import FIELDS
from carbon_acct.client.habits import ACCEPTED, DIFFERENCES, REFUSED
from carbon_collector.settings import DEFAULT_PATH, SETTINGS, Setting

HERE = Path(__file__).parent
COMPLETIONS = HERE.parents[1] / "accounting" / "completions"
BLOCK = r'(?<=\.\\" {0} BEGIN\n).*?(?=\.\\" {0} END\n)'
SECTIONS = {
    "site": "The site: its grid, its building, its calendar. Reports and emission factors come from here.",
    "collector": "The compute nodes. %n in a path stands for the node's name in Slurm.",
    "aggregator": "The accounting host.",
    "grid": "The electricity: where intensities come from, and which figures stand beside the location-based one.",
    "slurm": "How Slurm and MUNGE are reached.",
    "waste": "What counts as held and not used, in sums and advice.",
    "reports": "What carbon-report writes.",
    "web": "carbon-web, the pages for those who prefer a browser.",
}
KINDS = {
    "urls": "URLs, with commas or blanks between",
    "words": "words, with commas or blanks between",
    "seconds": "a time: a number with ms, s, m, h or d",
    "seconds_or_off": "a time: a number with ms, s, m, h or d",
    "path": "a path from the root",
}


def pages() -> dict[Path, str]:
    """Path of each file with generated parts -> what has to be in it."""
    command, settings = HERE / "carbon-acct.1", HERE / "carbon-acct.conf.5"
    text = command.read_text(encoding="utf-8")
    for name, block in {"FIELDS": fields(), "HABITS": habits(), "DIFFERENCES": differences()}.items():
        text = re.sub(BLOCK.format(name), lambda _, block=block: block, text, flags=re.DOTALL)
    written = completion.scripts(acct.PROGRAM, acct.parser(), ("show",))
    return {command: text, settings: conf()} | {
        COMPLETIONS / f"{acct.PROGRAM}.{shell}": script for shell, script in written.items()
    }


def habits() -> str:
    """The options of sacct that do nothing or are refused."""
    rows = [("Accepted, without effect", habit) for habit in ACCEPTED if "-X" not in habit.flags]
    rows += [("Refused", habit) for habit in REFUSED]
    between = ' ", " '
    return "".join(
        f".TP\n.BR {between.join(map(roff, habit.flags))}\n{word}: {roff(habit.text)}.\n" for word, habit in rows
    )


def differences() -> str:
    """The places where an answer differs from that of sacct, and why."""
    return "".join(f".IP \\(bu 2\n{roff(one.what)}: {roff(one.why)}.\n" for one in DIFFERENCES)


def fields() -> str:
    """The list of the fields."""
    return "".join(
        f".TP\n.B {roff(field.name)}\n{roff(field.doc)}.\nJSON: \\fB{roff(field.key)}\\fR.\n" for field in FIELDS
    )


def conf() -> str:
    """The whole of carbon-acct.conf(5)."""
    parts = []
    for section in dict.fromkeys(setting.section for setting in SETTINGS):
        entries = "".join(_setting(s) for s in SETTINGS if s.section == section)
        parts.append(f'.SS "[{section}]"\n{roff(SECTIONS[section])}\n{entries}')
    return HEAD + "".join(parts) + TAIL


def roff(text: str) -> str:
    """Text as roff: no control lines, hyphens that can be searched and copied, `code` in bold."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("%%", "%")
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", plain)
    return f"\\&{bold}" if bold.startswith((".", "'")) else bold


def _setting(setting: Setting) -> str:
    kind = KINDS.get(setting.kind, "")
    if setting.choices:
        kind = f"one of {', '.join(setting.choices)}"
    default = f"Default: \\fB{roff(setting.default)}\\fR" if setting.default else "Default: empty"
    return f".TP\n.B {roff(setting.key)}\n{roff(setting.doc)}\n{default}{roff('; ' + kind if kind else '')}.\n"


HEAD = f"""\
.\\" SPDX-License-Identifier: MIT
.\\" Written by docs/man/generate.py from the settings' one definition. Edit that.
.TH CARBON\\-ACCT.CONF 5 "" "carbon\\-acct" "File Formats"
.SH NAME
carbon\\-acct.conf \\- configuration of the accounting of energy and carbon
.SH SYNOPSIS
.B {roff(DEFAULT_PATH)}
.SH DESCRIPTION
One INI file for all programs on all hosts: each takes from it what concerns it.
No setting has to be made: without a file every default holds.
Lines that begin with # or ; are comments.
.P
A setting that does not exist, or a value that cannot be, is an error that names the nearest one.
On a compute node it is a warning in the collector's log, the default holds, and collecting goes on.
.P
.B carbon\\-mgr config
prints every setting with its value and where that came from,
.B carbon\\-mgr config \\-\\-example
a commented file.
.SH SETTINGS
"""
TAIL = """\
.SH ENVIRONMENT
.TP
.B CARBON_ACCT_CONF
Path of another configuration file, which must then exist.
slurmd hands none of its own environment to prolog and epilog. On a compute node set it where it is seen: in a script
that sets it and then runs
.BR carbon\\-acct.sh ,
as
.BR Prolog = " and " Epilog = ,
and in a drop\\-in of carbon\\-collector.service
.RB ( Environment=CARBON_ACCT_CONF=... ).
A link at
.I /etc/carbon\\-acct/carbon\\-acct.conf
needs neither.
.SH EXAMPLE
.nf
[site]
name = Example Computing Centre
zone = DE
pue = 1.25
timezone = Europe/Berlin

[collector]
aggregators = http://acct1:6829, http://acct2:6829

[aggregator]
listen = 0.0.0.0:6829
.fi
.SH SEE ALSO
.BR carbon\\-acct (1),
.BR carbon\\-report (1),
.BR carbon\\-aggregator (8),
.BR carbon\\-collector (8),
.BR carbon\\-mgr (8)
"""


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
