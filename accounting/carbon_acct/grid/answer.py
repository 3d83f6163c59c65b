# SPDX-License-Identifier: MIT
"""Reads the JSON of a provider. Every step says what it expected, so that a changed format is one clear line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import moment

T = TypeVar("T")

KINDS = {dict: "an object", list: "a list", str: "text", int: "a whole number", bool: "true or false"}
# 2000 to 2100: seconds, where somebody else counts milliseconds.
FIRST, LAST = 946_684_800, 4_102_444_800


def parse(who: str, body: bytes) -> object:
    """Return a body as JSON, with exact fractions. Raises ProviderError for HTML, garbage or a torn answer."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as e:
        looks = "HTML" if body.lstrip()[:1] == b"<" else "something else"
        raise ProviderError(f"{who}: the answer is {looks}; expected JSON") from e


def member(who: str, where: object, name: str, kind: type[T]) -> T:
    """Return a field that must exist and be of one kind. Raises ProviderError."""
    if not isinstance(where, dict):
        raise ProviderError(f"{who}: found {describe(where)} where {name} should be; expected an object")
    value = where.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = describe(value) if name in where else "missing"
        raise ProviderError(f"{who}: {name} is {found}; expected {KINDS[kind]}")
    return value


def value_of(who: str, where: object, name: str) -> object:
    """Return a field that must exist, whatever it is (`check` judges values). Raises ProviderError."""
    if not isinstance(where, dict) or name not in where:
        raise ProviderError(f"{who}: {name} is missing; expected a number or null")
    return where[name]


def instant(who: str, where: object, name: str, *, naive_is_utc: bool = False) -> int:
    """Return a field with a time in ISO 8601, in epoch seconds. Raises ProviderError."""
    text = member(who, where, name, str)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as e:
        raise ProviderError(f"{who}: {name} is {text[:40]!r}; expected a time in ISO 8601") from e
    if at.tzinfo is None and not naive_is_utc:
        raise ProviderError(f"{who}: {name} is {text[:40]!r}; expected a time with its zone")
    return plausible(who, name, at if at.tzinfo else at.replace(tzinfo=UTC))


def plausible(who: str, name: str, at: datetime | int) -> int:
    """Return a time between 2000 and 2100, in epoch seconds. Raises ProviderError."""
    seconds = int(at.timestamp()) if isinstance(at, datetime) else at
    if not FIRST <= seconds < LAST:
        raise ProviderError(f"{who}: {name} is {at}; expected a time between {moment(FIRST)} and {moment(LAST)}")
    return seconds


def describe(value: object) -> str:
    """Return a value as a message shows it."""
    if value is None:
        return "null"
    return next((text for kind, text in KINDS.items() if type(value) is kind), "a number")
