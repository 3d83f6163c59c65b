# SPDX-License-Identifier: MIT
"""`carbon-mgr init`: asks what only people know, finds out the rest, and writes the configuration with what to do next."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from carbon_collector import settings
from carbon_collector.errors import UsageError

from ...client.safe_text import visible

if TYPE_CHECKING:
    from ...doctor.facts import Facts
    from .. import Parser

ASKED = (
    (
        "zone",
        "Zone of the electricity grid that feeds the site, e.g. DE, FR, US-CA (`carbon-mgr zones` lists them)",
        "",
    ),
    ("pue", "Power usage effectiveness: facility energy over IT energy; empty if nobody knows", ""),
    ("timezone", "Time zone of the site's days and months", "UTC"),
    ("database", "Database URL (mysql+pymysql://..., postgresql+psycopg://...); empty for a file of SQLite", ""),
)
"""The questions: the option, what is asked, and the answer where there is none."""
PRIVATE = (
    "slurmdbd's PrivateData decides who sees what, as with sacct: {}. Nothing more is to be set here.",
    "with `jobs` in it users see their own jobs, coordinators their accounts', operators all",
    "everybody sees all jobs; PrivateData=jobs in slurmdbd.conf makes it own jobs only",
)


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("init", help="write the configuration of a new site, and say what to do next")
    for name, says, _ in ASKED:
        p.add_argument(
            f"--{name}", metavar=name.upper(), help=f"{says.partition(' (')[0].partition(';')[0]}; else it is asked"
        )
    p.add_argument("--listen", metavar="ADDRESS", help="address and port of the aggregator")
    p.add_argument("--host", metavar="NAME", help="name by which nodes reach this host (default: its own)")
    p.add_argument("-y", "--yes", action="store_true", help="ask nothing: what no option gives has its default")
    p.add_argument("-n", "--dry-run", action="store_true", help="print the file and write nothing")
    p.add_argument("--force", action="store_true", help="write over a file that is there")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...doctor import facts
    from ...slurm.programs import Programs

    path = Path(options.config or os.environ.get("CARBON_ACCT_CONF", "") or settings.DEFAULT_PATH)
    if path.exists() and not options.force and not options.dry_run:
        raise UsageError(f"{path} is there already; --force writes over it, `carbon-mgr doctor` judges it")
    found = facts.find(Programs())
    comment = "# " if options.dry_run else ""
    for line in told(found):
        print(visible(comment + line))
    text = written(chosen(options, found))
    check(text)
    if options.dry_run:
        print(text, end="")
    else:
        _write(path, text, found.aggregator_uid)
    for line in ("", "Next:", "", *next_steps(found, path)):
        print(visible(comment + line).rstrip())
    return 0


def _write(path: Path, text: str, aggregator_uid: int | None) -> None:
    """Write the file, readable by all unless it holds a password, which only root and the aggregator's group may read."""
    secret = ":" in _login(text)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o640 if secret else 0o644)
    path.write_text(text, encoding="utf-8")
    if secret and aggregator_uid is not None and os.geteuid() == 0:
        os.chown(path, 0, pwd.getpwuid(aggregator_uid).pw_gid)
    what = ", which holds a password: give nodes and login nodes a copy without [aggregator] database"
    print(f"\nWritten: {path}{what if secret else ''}")


def told(found: Facts) -> Iterator[str]:
    """Yield what was found out, a line each."""
    yield f"host:     {found.host}, {found.distribution}"
    if found.problem:
        yield f"slurm:    unknown: {found.problem}"
        return
    release = "{}.{:02}".format(*(found.release or (0, 0)))
    away = f", {len(found.elsewhere)} of them on other hosts" if found.elsewhere else ", all on this host"
    yield f"slurm:    {release}, cluster {found.cluster}, {len(found.nodes)} nodes{away}"
    for kind in ("Prolog", "Epilog", "PrologFlags"):
        yield f"          {kind}: {', '.join(found.hooks.get(kind, ())) or 'none'}"
    private = "jobs" in found.private
    yield f"privacy:  {PRIVATE[0].format(f'PrivateData={found.private}')}"
    yield f"          {PRIVATE[1 if private else 2]}"


def chosen(options: argparse.Namespace, found: Facts) -> dict[tuple[str, str], str]:
    """Return the settings: what options say, what is asked, and what follows from the facts. Raises UsageError."""
    answers = {}
    for name, says, default in ASKED:
        given = getattr(options, name)
        answers[name] = given if given is not None else default if options.yes else _ask(says, default)
    if not answers["zone"]:
        raise UsageError(
            "--zone is needed: carbon by the world's average is right for nobody; `carbon-mgr zones` lists them"
        )
    port = (options.listen or "").rpartition(":")[2] or "6829"
    listen = options.listen or (f"0.0.0.0:{port}" if found.elsewhere else f"127.0.0.1:{port}")
    host = options.host or (found.host if found.elsewhere else "127.0.0.1")
    uid = found.aggregator_uid
    values = {
        ("site", "cluster"): found.cluster,
        **{("site", name): answers[name] for name in ("zone", "pue", "timezone")},
        ("collector", "aggregators"): f"http://{host}:{port}",
        # A node believes a system account's answers; another user has to be named, by its number: nodes may not know the name.
        ("collector", "aggregator_user"): str(uid) if uid is not None and uid >= 1000 else "",
        ("collector", "linger"): "forever",
        ("aggregator", "listen"): listen,
        ("aggregator", "database"): answers["database"],
    }
    return {key: value for key, value in values.items() if value}


def _ask(says: str, default: str) -> str:
    try:
        answer = input(f"{says}{f' [{default}]' if default else ''}: ").strip()
    except EOFError:
        raise UsageError("nobody answers: give --zone and --yes, or run it in a terminal") from None
    return answer or default


def written(values: dict[tuple[str, str], str]) -> str:
    """Return the commented file with these values in place of the defaults."""
    section, lines = "", []
    for line in settings.example().splitlines():
        section = line[1:-1] if line.startswith("[") else section
        key = line[1:].partition(" = ")[0] if line.startswith("#") and " =" in line else ""
        value = values.get((section, key.removesuffix(" =").strip()))
        lines.append(line if value is None else f"{key.removesuffix(' =').strip()} = {value}")
    head = "# carbon-acct.conf, the same on all hosts. What begins with # is at its default."
    return "\n".join([head, *lines[1:]]) + "\n"


def check(text: str) -> None:
    """Raise CarbonError where the aggregator would not start with this file."""
    import tempfile

    from ...api.address import listen_address
    from ...db.connect import check_kind, parse_urls
    from ...factors.slot_factor import load_terms

    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        config = settings.load(file.name)
    load_terms(config)
    listen_address(config.text("aggregator", "listen"))
    if config.text("aggregator", "database"):
        check_kind(parse_urls(config.text("aggregator", "database"))[0])


def _login(text: str) -> str:
    """Return user and password of the database's URL."""
    line = next((line for line in text.splitlines() if line.startswith("database = ")), "")
    return line.partition("://")[2].partition("@")[0] if "@" in line else ""


def next_steps(found: Facts, path: Path) -> Iterator[str]:
    """Yield the commands for this site, in the order in which no node is harmed."""
    dpkg = found.debian
    node = "dpkg -i carbon-acct-node_*.deb" if dpkg else "dnf install ./carbon-acct-node-*.rpm"
    yield "# 1. Here, as root:"
    yield "sacctmgr -i add user carbon-acct account=root adminlevel=operator"
    yield "systemctl enable --now carbon-aggregator"
    yield "carbon-mgr doctor"
    if found.elsewhere:
        yield "# and let nodes and login nodes reach its TCP port."
    nodes = ", ".join(found.nodes[:3]) + (", ..." if len(found.nodes) > 3 else "")
    yield f"# 2. On every node of the cluster{f' ({nodes})' if nodes else ''}, as root:"
    yield f"install -D -m 644 carbon-acct.conf {path}     # this file"
    yield node
    yield from _hooks(found)
    yield "# 4. On one node, then here:"
    yield "systemctl enable --now carbon-collector           # on each node: idle nodes are accounted as well"
    yield "carbon-collector probe --doctor"
    yield "carbon-mgr status"


def _hooks(found: Facts) -> Iterator[str]:
    from ...slurm.hooks import KINDS, steps

    if found.release is None:
        yield "# 3. Slurm did not answer: run `carbon-mgr init --dry-run` again when it does, for the lines of slurm.conf."
        return
    planned = list(zip((*KINDS, "PrologFlags"), steps(found.hooks, found.release), strict=True))
    yield from [command for _, step in planned for command in step.on_nodes]
    lines = [(step.replaces, f"{kind}={step.replaces}", step.line) for kind, step in planned if step.line]
    unclear = [f"# {step.why}" for _, step in planned if step.case == "unclear"]
    if unclear:
        yield "# 3. slurm.conf, by hand, since it is not certain what Slurm does with it:"
        yield from unclear
    elif not lines:
        yield "# 3. slurm.conf stays as it is: what it names takes our hooks."
        return
    else:
        yield "# 3. Only when every node has its files (one without them would be drained), slurm.conf:"
    for replaces, before, line in lines:
        yield f"{line}{f'     # in place of {before}' if replaces else ''}"
    yield "scontrol reconfigure"
