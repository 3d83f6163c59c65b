# SPDX-License-Identifier: MIT
"""Entry points of the installed programs: each checks that its Python is new enough before it imports anything else.

This module keeps to the syntax of Python 3.6, so that an old interpreter prints one line and not a traceback.
"""

import importlib
import platform
import sys

SERVER = (3, 11)
"""The oldest Python of the accounting host's programs."""
CLIENT = (3, 9)
"""The oldest Python of the programs that users run."""


def acct() -> int:
    """Run carbon-acct and return its exit status."""
    return _start("carbon-acct", CLIENT, "carbon_acct.cli.acct")


def estimate() -> int:
    """Run carbon-estimate and return its exit status."""
    return _start("carbon-estimate", CLIENT, "carbon_acct.cli.estimate")


def aggregator() -> int:
    """Run carbon-aggregator and return its exit status."""
    return _start("carbon-aggregator", SERVER, "carbon_acct.cli.aggregator")


def mgr() -> int:
    """Run carbon-mgr and return its exit status."""
    return _start("carbon-mgr", SERVER, "carbon_acct.cli.mgr")


def report() -> int:
    """Run carbon-report and return its exit status."""
    return _start("carbon-report", SERVER, "carbon_reports.cli")


def web() -> int:
    """Run carbon-web and return its exit status."""
    return _start("carbon-web", SERVER, "carbon_reports.web.cli")


def _start(program: str, floor: "tuple[int, int]", module: str) -> int:
    if sys.version_info[:2] < floor:
        here = "{} ({})".format(platform.python_version(), sys.executable)
        sys.stderr.write("{}: needs Python {}.{} or newer; this is Python {}\n".format(program, *floor, here))
        return 1
    status: int = importlib.import_module(module).main()
    return status
