# SPDX-License-Identifier: MIT
"""carbon-mgr: what an administrator does with the accounting; sacctmgr's cousin."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carbon_collector import __version__, settings
from carbon_collector.errors import RequestError, UsageError

from ..text import visible
from . import Parser, funnel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carbon_collector.settings import Settings

PROGRAM = "carbon-mgr"
SYNC_TIMEOUT_S = 600.0


def parser() -> Parser:
    """The command line."""
    p = Parser(prog=PROGRAM, description="Manage the accounting of energy and carbon.")
    p.add_argument("--config", metavar="FILE", default="", help="configuration file")
    p.add_argument("--debug", action="store_true", help="show tracebacks")
    p.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = p.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    status = commands.add_parser("status", help="state of the accounting, and the conservation of energy")
    status.add_argument("--json", action="store_true", help="the aggregator's answer as it is")
    status.set_defaults(run=_status)
    ingest = commands.add_parser("ingest", help="take segments from files, on the accounting host")
    ingest.add_argument("files", nargs="+", metavar="FILE", type=Path)
    ingest.set_defaults(run=_ingest)
    config = commands.add_parser("config", help="every setting, its value and where that came from")
    config.add_argument("--example", action="store_true", help="a commented file with every setting at its default")
    config.set_defaults(run=_config)
    zones = commands.add_parser("zones", help="zones of the grid and their yearly factors")
    zones.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="part of a zone's code or name")
    zones.set_defaults(run=_zones)
    unmatched = commands.add_parser("unmatched", help="ledgers for which Slurm has no job")
    unmatched.set_defaults(run=_unmatched)
    sync = commands.add_parser("sync", help="have the aggregator ask Slurm now")
    sync.set_defaults(run=_sync)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed, 2 usage."""
    arguments = sys.argv[1:] if argv is None else list(argv)

    def body() -> int:
        options = parser().parse_args(arguments)
        return int(options.run(options))

    return funnel(PROGRAM, body, "--debug" in arguments)


def _status(options: argparse.Namespace) -> int:
    from .. import status

    answer = _ask(settings.load(options.config), "GET", "/v1/status")
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in status.lines(answer):
            print(visible(line))
    return 0 if status.conserved(answer) else 1


def _ingest(options: argparse.Namespace) -> int:
    from ..ingest import ingest_file
    from ..site import open_site

    site = open_site(settings.load(options.config))
    complete = True
    try:
        for path in options.files:
            outcome = ingest_file(site, path)
            complete &= outcome.complete
            print(visible(f"{path}: {outcome.line}"), file=sys.stdout if outcome.complete else sys.stderr)
    finally:
        site.database.close()
    return 0 if complete else 1


def _config(options: argparse.Namespace) -> int:
    if options.example:
        print(settings.example(), end="")
        return 0
    config = settings.load(options.config)
    for s in settings.SETTINGS:
        value = config.text(s.section, s.key)
        print(visible(f"[{s.section}] {s.key} = {value}".rstrip() + f"  ({config.origin(s.section, s.key)})"))
    return 0


def _zones(options: argparse.Namespace) -> int:
    from ..grid.factors import search

    found = search(options.pattern)
    if not found:
        raise UsageError(f"no zone has {options.pattern!r} in its code or name; `{PROGRAM} zones` lists them all")
    for f in found:
        print(f"{f.zone:8} {f.g_per_kwh:>8} g/kWh  {f.year}  {f.scope:9}  {f.name}  ({f.source}, {f.licence})")
    return 0


def _unmatched(options: argparse.Namespace) -> int:
    from ..status import joules

    found = _ask(settings.load(options.config), "GET", "/v1/unmatched")["unmatched"]
    for row in found:
        energy = "energy not known" if row["energy_uj"] is None else f"{joules(row['energy_uj'])} J"
        who = f"user {row['user'] or 'not known'}, account {row['account'] or 'not known'}"
        end = row["closed"] if row["closed"] is not None else "open"
        place = f"{row['cluster']} {row['node']}: job {row['job_id']} {row['run']}"
        print(visible(f"{place}, {row['opened']} to {end}, {who}, {energy}"))
    return 0


def _sync(options: argparse.Namespace) -> int:
    changed = _ask(settings.load(options.config), "POST", "/v1/sync", SYNC_TIMEOUT_S)["jobs_changed"]
    print(f"{changed} jobs new or changed")
    return 0


def _ask(config: Settings, method: str, target: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """What the first aggregator that answers says. Raises RequestError and MungeError."""
    from carbon_collector.http import signed_request

    silent: list[str] = []
    for url in config.aggregators():
        try:
            answer = signed_request(
                method, url, target, timeout_s=timeout_s, munge_socket=config.text("slurm", "munge_socket")
            )
        except RequestError as err:
            silent.append(str(err))
            continue
        try:
            content: dict[str, Any] = json.loads(answer.body)
        except ValueError as err:
            raise RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?") from err
        if answer.status != 200:
            raise RequestError(f"{url} refuses: {content.get('detail', answer.status)}", answer.status)
        return content
    raise RequestError(
        f"{'; '.join(silent)}; is carbon-aggregator running there, and [collector] aggregators in the configuration right?"
    )


if __name__ == "__main__":
    sys.exit(main())
