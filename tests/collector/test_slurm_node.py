# SPDX-License-Identifier: MIT
"""Slurm's node is not Linux's: its name, and how many CPUs it counts, from Slurm's answer or from the jobs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import slurm_node
from carbon_collector.slurm_node import Answer, Held, Question, SlurmNode, parse, reckon

SHOWN = """\
Names= h1a h1b
NodeName=h1a Arch=x86_64 CoresPerSocket=4 CPUAlloc=0 CPUEfctv=8 CPUTot=8 CPULoad=0.00 Gres=gpu:a100:4(S:0-1),shard:16(S:0-1) NodeAddr=x
NodeName=h1b CPUTot=4 Gres=(null) ThreadsPerCore=2
ClusterName             = tiny
"""


def test_what_scontrol_says() -> None:
    """As Slurm 22.05 prints it, on one line a node."""
    assert parse(SHOWN) == Answer(
        ["h1a", "h1b"], {"h1a": SlurmNode("h1a", 8, 4), "h1b": SlurmNode("h1b", 4, 0)}, "tiny"
    )


@given(st.text())
def test_rubbish_is_no_answer(text: str) -> None:
    """Whatever a program prints instead, nothing fails, and no node has less than one CPU."""
    assert all(node.cpus > 0 for node in parse(text).nodes.values())


@given(
    cores=st.integers(1, 128),
    each=st.sampled_from([2, 4, 8]),
    counts_cores=st.booleans(),
    confined=st.booleans(),
    parts=st.lists(st.integers(1, 32), min_size=1, max_size=8),
)
def test_whatever_is_certain_is_right(
    cores: int, each: int, counts_cores: bool, confined: bool, parts: list[int]
) -> None:
    """For any machine with threads, way of counting and jobs: what is called certain is what Slurm counts."""
    threads = cores * each
    total = cores if counts_cores else threads
    jobs, left = [], total
    for part in parts:
        cpus = min(part if counts_cores else part * each, left)  # Slurm gives whole cores
        left -= cpus
        if cpus:
            cpuset = threads if not confined else cpus * (each if counts_cores else 1)
            jobs.append(Held(cpus, cpuset, exclusive=cpus == total))
    found = reckon(threads, cores, jobs)

    assert found.cpus in (0, cores, threads)
    if found.certain:
        assert found.cpus == total
    if confined and jobs[0].cpuset < threads:
        assert found.certain


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([Held(8, 16, False)], 8),
        ([Held(4, 16, False), Held(4, 16, False)], 8),
        ([Held(4, 8, False)], 8),
        ([Held(4, 4, False)], 16),
        ([Held(12, 16, False)], 16),
        ([Held(16, 0, True)], 16),
        ([Held(4, 0, False)], 0),
        ([], 0),
    ],
)
def test_what_jobs_tell_of_8_cores_with_16_threads(jobs: list[Held], expected: int) -> None:
    """The node of Azure/cyclecloud-slurm #446, and the same node where Slurm counts threads."""
    assert reckon(16, 8, jobs).cpus == expected


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program in scontrol's place."""
    program = folder / "scontrol"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(slurm_node, "PLACES", (str(folder),))


def wait(question: Question, name: str = "") -> Answer | None:
    """Follow a question to its answer."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = question.follow(name, "/conf")
        if answer or question.done:
            return answer
        time.sleep(0.02)
    return None


def test_it_asks_once_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name first, then that node and the cluster; with the slurm.conf that the ticket named; then never again."""
    fake(
        tmp_path,
        monkeypatch,
        f'echo "$SLURM_CONF $*" >>{tmp_path}/asked\n'
        'case $* in *aliases) echo n7 ;; *node*) echo "NodeName=n7 CPUTot=8" ;; *) echo "ClusterName = tiny" ;; esac',
    )
    question = Question()

    assert wait(question) == Answer(["n7"], {"n7": SlurmNode("n7", 8, 0)}, "tiny")
    assert question.follow("n7", "") is None
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["/conf show aliases", "/conf -o show node n7", "/conf show config"]


@pytest.mark.parametrize(
    ("aliases", "name", "expected"),
    [("h1a h1b", "h1a", "h1a,h1b"), ("h1a h1b", "", "h1a,h1b"), ("other", "h1a", "h1a"), ("", "h1a", "h1a")],
)
def test_all_slurmd_of_the_host_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aliases: str, name: str, expected: str
) -> None:
    """In one question, however many they are; a name that slurm.conf does not have for this host is asked for alone."""
    fake(
        tmp_path,
        monkeypatch,
        f'echo "$*" >>{tmp_path}/asked; case $* in *aliases) echo {aliases} ;; *node*) echo "NodeName=x CPUTot=1" ;; esac',
    )
    wait(Question(), name)

    assert f"-o show node {expected}" in (tmp_path / "asked").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["exit 1", "sleep 60", "exec /no/such", "kill -9 $$", "head -c 3000000 /dev/zero"])
def test_a_slurm_that_does_not_answer_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Down, hung, crashed or mad: no answer, no wait, nothing left running, and it is asked again later only."""
    fake(tmp_path, monkeypatch, script)
    monkeypatch.setattr(slurm_node, "PATIENCE_S", 0.5)
    question = Question()
    answers, longest_s = [], 0.0
    for _ in range(40):  # two seconds, or more
        start_s = time.monotonic()
        answers.append(question.follow("n1", ""))
        longest_s = max(longest_s, time.monotonic() - start_s)
        time.sleep(0.05)

    assert all(answer is None or not answer.nodes for answer in answers)
    assert longest_s < 30  # one of them sleeps for a minute
    assert not question.done
    assert question._pid == 0
