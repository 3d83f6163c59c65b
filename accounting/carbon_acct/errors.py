# SPDX-License-Identifier: MIT
"""Errors of the accounting host that a person may see. Each is one line that says what, where and what to do.

CarbonError (carbon_collector.errors)
└── AccountingError
    ├── DatabaseError     the database cannot be used
    │   ├── AwayError     its server does not answer, and may come back
    │   └── SchemaError   its tables are not those of this program
    ├── MungedError       munged cannot be asked (a MungeError as well)
    ├── SlurmError        Slurm's programs or its database do not answer
    ├── ZoneError         no factor is known for the site's grid zone
    ├── ProviderError     a provider of grid intensities cannot be used, or its answer cannot be trusted
    ├── ListenError       the aggregator cannot listen where it should
    └── RefusedError      a request is refused; the HTTP status says whether finally
"""

from __future__ import annotations

from carbon_collector.errors import CarbonError, MungeError

KINDS = {
    400: "parameter",
    401: "credential",
    403: "not_allowed",
    404: "no_such",
    405: "no_such",
    408: "slow",
    413: "too_large",
    422: "segment",
    429: "rate",
    503: "not_ready",
}


class AccountingError(CarbonError):
    """Any error that the accounting host reports in one line."""


class DatabaseError(AccountingError):
    """The database cannot be used."""


class AwayError(DatabaseError):
    """The database's server does not answer; it may come back."""


class SchemaError(DatabaseError):
    """The database's tables are not those that this program needs."""


class MungedError(AccountingError, MungeError):
    """munged cannot be asked about a credential, so nothing is known of the credential."""


class SlurmError(AccountingError):
    """Slurm did not answer, or answered in a form that cannot be read."""


class ZoneError(AccountingError):
    """No factor is known for a zone of the grid."""


class ProviderError(AccountingError):
    """A provider of grid intensities gave nothing that can be used.

    `kind` is the class of the error: an error of the same class is logged once, whatever its figures are.
    `permanent`: asking again changes nothing until a person does (a token, a zone, a file).
    `retry_after_s`: the provider itself said when to ask again. `forbidden`: the token, or what it allows, is the reason.
    """

    def __init__(
        self,
        reason: str,
        *,
        kind: str = "answer",
        permanent: bool = False,
        retry_after_s: float | None = None,
        forbidden: bool = False,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.permanent = permanent
        self.forbidden = forbidden
        self.retry_after_s = retry_after_s


class ListenError(AccountingError):
    """The aggregator cannot listen at [aggregator] listen."""


class RefusedError(AccountingError):
    """A request is refused. `status` is the HTTP status; 400, 403, 413 and 422 are final (record-format.md).

    `kind` is the class of the reason, as /metrics counts it; `retry_after_s` is when another try may do better.
    """

    def __init__(self, status: int, reason: str, kind: str = "", retry_after_s: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind or KINDS.get(status, "other")
        self.retry_after_s = retry_after_s
