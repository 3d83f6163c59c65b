# SPDX-License-Identifier: MIT
"""What becomes of a sacct user's habits: options of sacct that are refused or do nothing, and where answers differ.

The parser, the man page and the test beside the real `sacct -X` are made from these tables. An option that is in
neither of them means what it means to sacct.
"""

from __future__ import annotations

from carbon_collector.lean.typing import NamedTuple


class Habit(NamedTuple):
    """An option of sacct that does not do what it does there. `takes` says whether a value follows it, or
    `maybe`.
    """

    flags: tuple[str, ...]
    takes: bool | str
    text: str


REFUSED: tuple[Habit, ...] = (
    Habit(("-B", "--batch-script"), False, "scripts are not accounted; `sacct -B -j JOBID` prints them"),
    Habit(("-c", "--completion"), False, "it reads Slurm's job completion log, which has no energy; leave it out"),
    Habit(("-C", "--constraints"), True, "features are not accounted; choose nodes with -N or partitions with -r"),
    Habit(("-f", "--file"), True, "it reads Slurm's job completion log, which has no energy; leave it out"),
    Habit(("-F", "--flags"), True, "how a job was scheduled is not accounted; leave it out"),
    Habit(("-R", "--reason"), True, "jobs are not chosen by it; show it with -o JobID,Reason"),
    Habit(("-W", "--wckeys"), True, "wckeys are not accounted; choose accounts with -A or names with --name"),
    Habit(("-x", "--associations"), True, "associations have no numbers here; choose them with -A, -u and -r"),
    Habit(("--array",), False, "tasks that wait are one line; ask for one with -j 12_3"),
    Habit(("--env-vars",), False, "environments are not accounted; `sacct --env-vars -j JOBID` prints them"),
    Habit(("--whole-hetjob",), "maybe", "-j with the first component's number shows all; 12+1 is one component"),
    Habit(("--yaml",), False, "--json has the same"),
)
"""The options of sacct that are refused by name, and what to do instead."""

ACCEPTED: tuple[Habit, ...] = (
    Habit(("-X", "--allocations"), False, "energy is always per allocation"),
    Habit(("-t",), False, "the old letter of -X"),
    Habit(("--federation",), False, "-M and -L choose clusters"),
    Habit(("--local",), False, "the cluster of the configuration file is shown without it, too"),
)
"""The options of sacct that are taken and change nothing, and why."""


class Difference(NamedTuple):
    """A place where carbon-acct answers otherwise than `sacct -X`, on purpose."""

    name: str
    what: str
    why: str


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "empty",
        "Where sacct writes Unknown, None, None assigned or UNLIMITED, or Partition_Limit for the limit, there is nothing",
        "what is not known is empty in every form, and no word can be taken for a value",
    ),
    Difference(
        "text",
        "In texts that users choose, what does not print, a backslash and the delimiter are escapes",
        "a terminal or a script would obey them",
    ),
    Difference(
        "exit",
        "A wrong command line ends with exit status 2, where sacct has 1",
        "a script can tell its own fault from one of the site; an unknown user, group or QOS is 1, as in sacct",
    ),
    Difference(
        "running",
        "Elapsed, CPUTime and Suspended of a job that has not ended are those of the last poll of Slurm",
        "the answer comes from the accounting, which asks Slurm once for all users",
    ),
    Difference(
        "cut",
        "-T does not cut the time for which a job was suspended: Suspended is that of the whole job",
        "a poll of Slurm tells for how long a job was suspended, not when",
    ),
    Difference(
        "refused",
        "The options that the list above calls refused end with exit status 2",
        "they choose by what is not accounted, and an answer without the choice would be wrong",
    ),
    Difference(
        "steps",
        "-j 12.batch is refused",
        "a step has no energy of its own, and that of the job would be taken for it",
    ),
    Difference(
        "ranges",
        "-j 12_[1-4] means these tasks; sacct refuses it",
        "it is how squeue and scontrol write them",
    ),
    Difference(
        "cpus",
        "-I 2 means two CPUs; sacct also finds jobs that have two of something else, e.g. of GPUs",
        "sacct searches the text of all resources for the number",
    ),
    Difference(
        "width",
        "Columns are as wide as what is in them, and the default table as wide as the terminal; -o name%x is refused",
        "sacct has columns of a fixed width, and takes %x for no width",
    ),
    Difference(
        "nodes",
        "AllocNodes of a job that waits again after a requeue is 0, and -i does not find it",
        "sacct still says the nodes of the run before",
    ),
    Difference(
        "never",
        "A job that was cancelled before it could start at all is shown to those who ask for it with -j",
        "it has no energy, and a poll of Slurm returns jobs that could start",
    ),
    Difference(
        "units",
        "--units sets the units of Energy and Carbon; memory in AllocTRES keeps its own",
        "energy is what is asked for",
    ),
)
"""Every difference that is wanted. The test beside sacct knows no others."""
