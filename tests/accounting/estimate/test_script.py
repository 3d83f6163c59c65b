# SPDX-License-Identifier: MIT
"""Options of a batch script, as sbatch reads them: what counts, what comes first, and that nothing is run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client.estimate import options, script
from carbon_acct.client.estimate.asked import array_tasks, asked, gpus_of_list, gpus_of_tres, limit_s, size_mib
from carbon_collector.errors import UsageError

from .conftest import Run


def components(text: str, *words: str, **environment: str) -> list[dict[str, str]]:
    """What a script and a command line come to."""
    return script.job_options(options.command_line([*words, "a.sh"]), environment, text)


def test_the_command_line_comes_before_variables_and_those_before_the_script() -> None:
    """As in sbatch(1): each level overrides the one below it, option by option."""
    text = "#!/bin/sh\n#SBATCH -G a100:1 -t 1:00\n#SBATCH -p low -c 2\n"
    found = components(text, "-t", "3:00", SBATCH_TIMELIMIT="2:00", SBATCH_PARTITION="high", SBATCH_NOTHING="x")

    assert found == [{"gpus": "a100:1", "time": "3:00", "partition": "high", "cpus-per-task": "2"}]


def test_directives_end_at_the_first_command() -> None:
    """Comments and blank lines do not end them; a command does, and what only looks like a directive is none."""
    text = (
        "#!/bin/bash -l\n\n# a comment\n#SBATCH -c 2\n##SBATCH -c 3\n# SBATCH -c 4\n#SBATCHX -c 5\n   \n"
        '#SBATCH --job-name="a b" # -c 6\n#SBATCH --mail-type END --mem=4G\nmodule load x\n#SBATCH -c 7\n'
    )

    assert components(text) == [{"cpus-per-task": "2", "job-name": "a b", "mail-type": "END", "mem": "4G"}]


def test_components_of_a_het_job() -> None:
    """`hetjob` divides a script's, `:` the command line's; variables count for all."""
    text = "#!/bin/sh\n#SBATCH -c 1\n#SBATCH hetjob\n#SBATCH -c 2\n#SBATCH packjob\n#SBATCH -c 3\ntrue\n"
    found = components(text, "-t", "1", ":", "-c", "9", SBATCH_PARTITION="p")

    assert [one["cpus-per-task"] for one in found] == ["1", "9", "3"]
    assert [one.get("time") for one in found] == ["1", None, None]
    assert {one["partition"] for one in found} == {"p"}


def test_nothing_of_a_script_is_evaluated(run: Run, tmp_path: Path) -> None:
    """Neither its commands nor what stands in its directives."""
    file = tmp_path / "train.sh"
    file.write_text(f"#!/bin/sh\n#SBATCH -J '$(touch {tmp_path}/ran)' -G a100:1 -t 60\ntouch {tmp_path}/ran\n")

    assert run("--basis", "hardware", str(file)).status == 0
    assert not (tmp_path / "ran").exists()


def test_arguments_behind_the_script_are_the_scripts(run: Run, tmp_path: Path) -> None:
    """`train.sh --hours 5 -G 8` says nothing to us."""
    file = tmp_path / "train.sh"
    file.write_text("#!/bin/sh\n#SBATCH -G a100:1 -t 60\n")

    assert run("--json", "--basis=hardware", str(file), "--hours", "5", "-G", "8").figures["energy_kwh"] == 0.4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"echo hi\n", "its first line does not begin with #!"),
        (b"#!/bin/sh\r\n#SBATCH -c 1\r\n", "DOS line breaks"),
        (b"\x7fELF\0\0", "not a text"),
        (b"#!/bin/sh\n#SBATCH --gppus=1\n", "train.sh:2: unknown option --gppus; did you mean --gpus?"),
        (b'#!/bin/sh\n#SBATCH -J "a\n', "train.sh:2: No closing quotation"),
    ],
)
def test_what_sbatch_would_refuse(run: Run, tmp_path: Path, content: bytes, says: str) -> None:
    """A script that cannot be submitted is refused with the line that is wrong."""
    file = tmp_path / "train.sh"
    file.write_bytes(content)
    done = run(str(file))

    assert done.status == 2
    assert says in done.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("90:30", 5430), ("1:30:00", 5400), ("2-0", 172_800), ("1-2:30", 95_400), ("1-2:30:15", 95_415),
        ("UNLIMITED", None), ("infinite", None), ("0", None),
    ],
)  # fmt: skip
def test_time_limits(text: str, seconds: int | None) -> None:
    """sbatch(1), --time."""
    assert limit_s(text) == seconds


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 7))
def test_array_tasks_are_counted_once(first: int, more: int, step: int) -> None:
    """A range with a step has as many tasks as Python's range, and a bound of parallel tasks changes nothing."""
    last = first + more
    assert array_tasks(f"{first}-{last}:{step}%3") == len(range(first, last + 1, step))
    assert array_tasks(f"{first}-{last},{first}") == more + 1


def test_sizes_and_types() -> None:
    """Memory in mebibytes; GPUs by type, whatever the form."""
    assert [size_mib("mem", text) for text in ("4000", "4G", "1T", "512K", "1.5GB", "0")] == [
        4000,
        4096,
        2**20,
        0.5,
        1536,
        None,
    ]
    assert gpus_of_list("gpus", "a100:2,v100") == {"a100": 2, "v100": 1}
    assert gpus_of_tres("gres", "gpu:a100:2(S:0-1),shard:3")[0] == {"a100": 2}
    assert gpus_of_tres("gres", "gpu")[0] == gpus_of_tres("gres", "gres:gpu:1")[0] == {"": 1}
    assert gpus_of_tres("tres-per-task", "cpu=4,gres/gpu:a100=1") == ({"a100": 1}, {"cpu": "4"})
    assert asked({"cpus-per-gpu": "8", "gpus": "a100:4", "mem-per-gpu": "10G"}).cpus == 32
    assert asked({"ntasks": "8", "cpus-per-task": "2", "mem-per-cpu": "1G"}).memory_mib == 16 * 1024
    assert asked({"ntasks": "10", "ntasks-per-node": "4", "mem": "1G"}).nodes == 3
    assert asked({"gpus": "a100:1", "ntasks": "4"}).cpus is None


@given(
    st.text(max_size=30), st.sampled_from(["time", "array", "nodes", "ntasks", "gpus", "gres", "mem", "tres-per-task"])
)
def test_no_value_is_a_traceback(text: str, name: str) -> None:
    """Whatever stands behind an option is read, or refused in one line."""
    with contextlib.suppress(UsageError):
        asked({name: text})


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_the_options_are_sbatchs() -> None:
    """Every option that sbatch's man page describes is known, with its letter and whether it takes a value."""
    page = subprocess.run(
        ["man", "sbatch"], capture_output=True, text=True, check=False, env={**os.environ, "MANWIDTH": "200"}
    )
    if page.returncode:
        pytest.skip("sbatch(1) is not installed")
    import re

    text = re.sub(".\b", "", page.stdout)
    described = re.findall(r"^ {7}(?:-(\w), )?--([a-z][a-z-]+)(\[?=)?", text.partition("\nINPUT ENV")[0], re.MULTILINE)
    known = {option.name: option for option in options.ALL}
    assert len(described) > 90
    for letter, name, equals in described:
        assert name in known
        assert not letter or known[name].letter == letter
        assert known[name].value == {"": "none", "=": "one", "[=": "maybe"}[equals]
