# SPDX-License-Identifier: MIT
"""Errors that a person may see: one line each, saying what, where and what to do.

CarbonError
├── UsageError        the command line is wrong (exit 2)
├── SettingsError     the configuration file is wrong
├── MungeError        a credential could not be made or was refused
├── RequestError      an HTTP request to the aggregator failed
├── StateError        the state on disk cannot be used
└── SegmentError      a spool segment is torn, foreign or not a segment at all
"""

from __future__ import annotations


class CarbonError(Exception):
    """Anything this project reports in one line; `exit_code` is what the program returns."""

    exit_code = 1


class UsageError(CarbonError):
    """The command line is wrong."""

    exit_code = 2


class SettingsError(CarbonError):
    """The configuration file cannot be used as it stands."""


class MungeError(CarbonError):
    """MUNGE could not make a credential, or refused one."""


class RequestError(CarbonError):
    """The aggregator could not be reached or refused the request.

    `status` is the HTTP status, 0 where there was no answer at all.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class StateError(CarbonError):
    """The collector's state on disk cannot be used."""


class SegmentError(CarbonError):
    """A spool segment is torn, foreign, or no segment at all."""
