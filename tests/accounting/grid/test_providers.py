# SPDX-License-Identifier: MIT
"""What holds for every provider that is asked over HTTP, and how the settings name them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carbon_acct.errors import ProviderError, ZoneError
from carbon_acct.grid.factors import factor
from carbon_acct.grid.provider import DIRECT, FOREVER, LIFECYCLE, Period
from carbon_acct.grid.providers import PROVIDERS, Means, parse_spec, suggested
from carbon_acct.grid.secret import read_token

from .conftest import TOKEN, Make
from .services import Reply, Service, as_json

T0 = 1_767_225_600
# Each as the settings name it, with a zone that it knows.
ASKED = [
    ("electricitymaps", "DE"),
    ("uk", "GB"),
    ("uk:13", "GB"),
    ("energidata:DK1", "DK"),
    ("rte", "FR"),
    ("energycharts", "DE"),
    ("entsoe", "DE"),
    ("eia", "US-CAL-CISO"),
    ("openelectricity", "AU-NSW"),
]
NONSENSE = {
    "html": Reply(b"<html><body>Maintenance</body></html>", content_type="text/html"),
    "empty": Reply(b""),
    "garbage": Reply(b"\xff\xfe\x00{{"),
    "torn": Reply(b'{"data": [{"from": "2026-'),
    "deep": Reply(b"[" * 100_000),
    "list": as_json([1, 2]),
    "null": as_json(None),
    "other object": as_json({"hello": "world"}),
    "rows of another kind": as_json(
        {k: [7] for k in ("data", "history", "records", "results", "unix_seconds", "co2eq", "co2eq_forecast")}
    ),
    "rows are text": as_json(dict.fromkeys(("data", "history", "records", "results", "unix_seconds"), "none")),
}


@pytest.mark.parametrize(("text", "zone"), ASKED)
@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused_in_one_line(make: Make, service: Service, text: str, zone: str, what: str) -> None:
    """HTML with status 200, garbage and other formats are refused by name, in one line; nothing uses them."""
    service.say(NONSENSE[what])
    provider = make(text, zone)

    with pytest.raises(ProviderError) as e:
        provider.history(T0, T0 + 3600)
    assert str(e.value).startswith(provider.text)
    assert "expected" in str(e.value)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(("text", "zone"), ASKED)
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_error_statuses(make: Make, service: Service, text: str, zone: str, status: int) -> None:
    """Every error status is one line with the provider's name; only what a person must mend is permanent."""
    service.say(as_json({"error": "no"}, status))
    provider = make(text, zone)

    with pytest.raises(ProviderError, match=f"HTTP {status}: no") as e:
        provider.history(T0, T0 + 3600)
    assert str(e.value).startswith(provider.text)
    assert e.value.permanent == (status < 429)


@pytest.mark.parametrize(("text", "zone"), ASKED)
def test_what_a_provider_says_of_itself(make: Make, text: str, zone: str) -> None:
    """A provider knows its slug, its source's name with its scope, and its resolution."""
    provider = make(text, zone)

    assert provider.slug == text.partition(":")[0]
    assert provider.scope in {LIFECYCLE, DIRECT}
    assert provider.text.endswith(provider.scope)
    assert 0 < provider.step_s <= 3600 <= provider.max_range_s


def test_every_provider_is_tested() -> None:
    """A provider that is new is in the table above, or needs no network."""
    assert {text.partition(":")[0] for text, _ in ASKED} == set(PROVIDERS) - {"csv", "constant", "yearly"}


def test_constant(make: Make) -> None:
    """A constant is one period for ever, of the scope that the settings say."""
    fifty = make("constant:50.0")

    assert fifty.history(T0, T0 + 900) == [Period(0, FOREVER, "50")]
    assert fifty.text == "constant 50 g/kWh, set by the site, lifecycle"
    assert make("constant+direct:0").scope == DIRECT
    assert fifty.forecast(T0, T0 + 900) == fifty.history(T0, T0) == []


def test_yearly(make: Make) -> None:
    """The yearly table is a provider like the others, with the factor's own source and scope."""
    portugal = make("yearly", "PT")

    assert portugal.history(T0, T0 + 900) == [Period(0, FOREVER, factor("PT").g_per_kwh)]
    assert (portugal.text, portugal.scope) == (factor("PT").text, factor("PT").scope)
    assert make("yearly:FR", "PT").text == factor("FR").text
    with pytest.raises(ZoneError, match="PT"):
        make("yearly", "Portugall")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("electricitymap", "did you mean electricitymaps?"),
        ("entso-e", "did you mean entsoe?"),
        ("xyzzy", "known are electricitymaps, uk"),
        ("", "known are"),
        ("rte:FR", "takes nothing behind a colon"),
        ("csv", "write csv:/PATH/FILE.CSV"),
        ("constant", "write constant:G/KWH"),
        ("constant:many", "is not a number"),
        ("constant:-1", "expected a number from 0"),
        ("constant:9999", "expected a number from 0"),
        ("uk+lifecycle", "one scope only"),
        ("electricitymaps+marginal", "no scope is named 'marginal'"),
        ("csv:series.csv", "must be absolute"),
        ("rte", "knows France only"),
        ("energidata", "neither DK1 nor DK2"),
        ("energycharts:../x", "not a country's code"),
        ("entsoe:NO6", "did you mean NO"),
        ("entsoe:ATLANTIS", "EIC code (16 characters) works too"),
        ("eia", "DE is no balancing authority; write e.g. eia:CISO"),
        ("openelectricity:WA1", "WA1 is no region; known are NSW1, QLD1"),
        ("watttime", "prices no job"),
    ],
)
def test_a_spec_that_is_wrong(make: Make, text: str, says: str) -> None:
    """A wrong word in the settings is refused in one line that says what to write."""
    with pytest.raises(ProviderError) as e:
        make(text, "DE")
    assert says in str(e.value)
    assert e.value.permanent


def test_a_token_is_asked_for_by_name() -> None:
    """A provider that needs a token says so when the settings are read, not at the first request."""
    with pytest.raises(ProviderError, match="electricitymaps needs a token"):
        parse_spec("electricitymaps", "DE", Means())


def test_suggestions_can_be_used(make: Make) -> None:
    """What is suggested for a zone ends with the yearly table, and the settings understand it."""
    assert suggested("FR") == ("rte", "energycharts", "yearly")
    assert suggested("gb") == ("uk", "yearly")
    assert suggested("DK1") == ("energidata", "yearly:DK")
    assert suggested("US-CAL-CISO") == ("electricitymaps", "yearly:US")
    assert suggested("DE") == ("energycharts", "yearly")
    assert suggested("US-CA") == ("electricitymaps", "yearly")
    for zone in ("FR", "GB", "DE", "US-CA", "DK1", "US-CAL-CISO", "somewhere"):
        made = [make(text, zone) for text in suggested(zone)]
        assert [p.slug for p in made] == [text.partition(":")[0] for text in suggested(zone)]
        assert made[-1].history(T0, T0 + 900)


def test_token_file(token_file: Path) -> None:
    """A token is read without the line's end."""
    assert read_token(token_file) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_token_that_others_can_reach(token_file: Path, mode: int) -> None:
    """A token file that its group or anybody can open is refused, with the remedy."""
    token_file.chmod(mode)

    with pytest.raises(ProviderError, match=r"has mode 06..; others can read it: chmod 600"):
        read_token(token_file)


@pytest.mark.parametrize("content", [b"", b"two words", b"a\x00b", "café".encode(), b"x" * 5000])
def test_a_token_file_that_holds_no_token(token_file: Path, content: bytes) -> None:
    """A file without one printable word is refused, and what it holds is not shown."""
    token_file.write_bytes(content)

    with pytest.raises(ProviderError, match=r"does not hold one word of printable ASCII$"):
        read_token(token_file)


def test_a_token_file_that_is_none(tmp_path: Path) -> None:
    """A file that is missing, or no file, is one line with its name."""
    with pytest.raises(ProviderError, match="No such file"):
        read_token(tmp_path / "absent")
    with pytest.raises(ProviderError, match="Is a directory"):
        read_token(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ProviderError, match="not a regular file"):
        read_token(tmp_path / "fifo")


def test_a_renewed_token_needs_no_restart(make: Make, service: Service, token_file: Path) -> None:
    """After a refusal the next request uses what the file holds then."""
    service.say(as_json({"error": "expired"}, 401))
    provider = make("electricitymaps")
    with pytest.raises(ProviderError, match=rf"refuses the token \(HTTP 401: expired\); check {token_file}"):
        provider.history(T0, T0 + 3600)

    token_file.write_text("renewed")
    service.say(as_json({"zone": "DE", "data": []}))

    assert provider.history(T0, T0 + 3600) == []
    assert service.asked[-1].headers["auth-token"] == "renewed"


def test_shipped_tables_name_their_sources() -> None:
    """Each fuel's factor has a source, and no production type is there twice."""
    from importlib.resources import files

    lines = (files("carbon_acct.grid") / "data" / "fuel-factors.csv").read_text().splitlines()[1:]

    assert len({line.split(",")[0] for line in lines}) == len(lines)
    assert all(line.split(",")[3] for line in lines)
    assert json.dumps(lines).isascii()
