# SPDX-License-Identifier: MIT
"""What the aggregator logs: one event a line, for people or machines, and no flood."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from carbon_acct.logs import MAX_REMEMBERED, Json, Quiet, Text


def record(message: str, *args: object, name: str = "carbon_acct.api") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)


def test_once_a_minute() -> None:
    """The same message about the same host comes once a minute, and then says how many were left out."""
    now = 0.0
    quiet = Quiet(lambda: now)
    assert quiet.filter(record("%s is refused: %s", "n1", "a"))
    assert [quiet.filter(record("%s is refused: %s", "n1", reason)) for reason in "abc"] == [False] * 3
    assert quiet.filter(record("%s is refused: %s", "n2", "a"))
    assert quiet.filter(record("%s is late", "n1"))
    now = 60.0
    late = record("%s is refused: %s", "n1", "d")
    assert quiet.filter(late)
    assert Text("p").format(late) == "p: n1 is refused: d (and 3 more like it)"
    assert json.loads(Json("p").format(late))["left_out"] == 3


def test_memory_is_bounded() -> None:
    """Messages about ever new hosts take no memory for ever."""
    quiet = Quiet(lambda: 0.0)
    for number in range(MAX_REMEMBERED + 50):
        quiet.filter(record("%s", str(number)))
    assert len(quiet._said) == MAX_REMEMBERED


@pytest.mark.parametrize("hostile", ["a\nb: forged line", "\x1b]0;owned\x07", "\u202egnp.exe"])
def test_one_line(hostile: str) -> None:
    """Whatever is in a message, it is one line that a terminal obeys in nothing; JSON gives it back unchanged."""
    text = Text("p").format(record("node %s", hostile))
    assert text.isprintable()
    line = Json("p").format(record("node %s", hostile))
    assert line.isprintable()
    assert json.loads(line)["message"] == f"node {hostile}"


def test_json_has_its_keys() -> None:
    """A machine finds time, level, program, logger and message; an exception where there is one."""
    try:
        int("why")
    except ValueError:
        broken = logging.LogRecord("x.y", logging.ERROR, __file__, 1, "it failed", (), sys.exc_info())
    said = json.loads(Json("carbon-aggregator").format(broken))
    assert set(said) == {"time", "level", "program", "logger", "message", "exception"}
    assert (said["level"], said["program"], said["logger"]) == ("error", "carbon-aggregator", "x.y")
    assert said["time"].endswith("+00:00")
    assert "ValueError: invalid literal" in said["exception"]
