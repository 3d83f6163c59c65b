# SPDX-License-Identifier: MIT
"""Commands of the accounting host and the login nodes, and one place that turns their errors into one line."""

from __future__ import annotations

import argparse
import errno
import os
import sys

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from ..client.safe_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
EXIT_PIPE = 141  # 128 + SIGPIPE: what a C program in the same pipe returns


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line and go through `funnel`."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with what argparse would print together with a page of usage."""
        raise UsageError(f"{message} (--help lists the options)")


def funnel(program: str, body: Callable[[], int], debug: bool = False) -> int:
    """Run `body` and return the exit status; an error becomes one line on stderr, a traceback only with `debug`."""
    try:
        status = body()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`). The interpreter flushes stdout once more at exit: give it a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except CarbonError as err:
        if debug:
            raise
        return _complain(program, str(err), err.exit_code)
    except OSError as err:
        if debug:
            raise
        if err.errno == errno.ENOSPC and err.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(program, str(err).removeprefix(f"[Errno {err.errno}] "), 1)
    except ModuleNotFoundError as err:
        if debug:
            raise
        return _complain(program, f"needs {err.name}: pip install 'carbon-acct[server,reports]'", 1)
    except Exception as err:  # a person gets one line, whatever went wrong
        if debug:
            raise
        return _complain(program, f"a fault in the program itself: {type(err).__name__}: {err}; see --debug", 1)
    return status


def warn(program: str, message: str) -> None:
    """Print one line on stderr, with nothing in it that a terminal would obey."""
    print(f"{program}: {visible(' '.join(message.split()))}", file=sys.stderr)


def _complain(program: str, message: str, status: int) -> int:
    warn(program, message)
    return status
