# SPDX-License-Identifier: MIT
"""Runs carbon-acct and `sacct -X` with the same options, as the same people, and compares what they answer.

Compared are: whether they succeed, which rows there are, in which order, and every cell that both have. Wanted
differences are those of `carbon_acct.client.habits`, and no others: each has a rule here that takes it out.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from carbon_acct.client.safe_text import escaped

from .cluster import Cluster
from .habits import HOSTILE_NAME, WIDE_NAME, WINDOW_S, Scene
from .layout import USERS

FIELDS = (
    *(
        "JobID",
        "JobIDRaw",
        "User",
        "UID",
        "GID",
        "Group",
        "Account",
        "Partition",
        "QOS",
        "Cluster",
        "State",
        "ExitCode",
    ),
    *("DerivedExitCode", "Submit", "Eligible", "Start", "End", "Elapsed", "ElapsedRaw", "Suspended", "NNodes"),
    *("AllocNodes", "ReqNodes", "NCPUS", "AllocCPUS", "ReqCPUS", "CPUTime", "CPUTimeRAW", "AllocTRES", "ReqTRES"),
    *("NodeList", "Timelimit", "TimelimitRaw", "Reason", "WorkDir", "Comment", "JobName"),
)
"""The cells that both have."""
DELIMITER = "@@"
VIEWERS = {
    "root": 0,
    "alice, a user": USERS["alice"],
    "carol, coordinator": USERS["carol"],
    "dave, a stranger": USERS["dave"],
}
NOTHING = {"Unknown", "None", "None assigned", "UNLIMITED", "Partition_Limit"}
OF_RUNNING = {"Elapsed", "ElapsedRaw", "CPUTime", "CPUTimeRAW", "Suspended"}
POLL_S = 60
"""How old what is known of a job that has not ended may be here."""

SELECTIONS = """
-S {start} | -a | -aD | -a -S {start} -E {mid} | -a -S {mid} -E {ends} | -T -a -S {mid} -E {ends} | -aT -S {start} -E {mid}
-T -u alice -S {mid} -E {ends} | -a -S today -E now | -a -E {mid} -S {start} -D | -u alice | -u alice,bob | -u alice -u bob | -u 70001 | --uid=bob
-u alice -a | -a -u alice | -u -1 | -u alice,nosuch | -u 99999 | -u carol -D | -g alice | -g 70002 | --gid=70001 -a | -g nosuch
-A physics -a | -A physics,optics -a | -A nosuch -a | -a -A physics -u carol | -r batch -a | -r nosuch -a | -q normal -a | -q nosuch -a
-M {cluster} -a | -M all -a | -L -a | --local -a | -M nosuch -a | --federation -a
-s r -a | --state=running,suspended -a | -s S -a | -s PD -a | -s CD -a -S {start} -E now | -s F -a -S {start} -E now
-s CA,F -a -S {start} -E now | -s RQ -a -S {start} -E now | -s R -a -S {start} -E now | -s R -a -S {start} -E {mid}
-s S -a -S {start} -E now | -s CD -a -S {start} | -s CD -a -S {start} -E {ended} | -s CD -a -S {ended} | -s CD -a -S {before}
-a -S {start} -E {ended} | -s PD -a -S {start} -E now | -s XX | -s CD -j {plain} | -s F -j {plain}
-j {array} | -j {array}_2,{array}_4 | -j {array}_9 | -j {het} | -j {het}+1 | -j {second} | -j {running} | -j {suspended}
-j {pending} | -j {hold} | -j {never} | -j {again} | -j {again} -D | -j {cancelled} | -j {half} | -j {plain},{array},{het}
-j 99999 | -j {plain} -u bob | -j {hold},{never},{pending} -a | -j {plain} -S {start} -E {mid} | -j {never} -S {start} -E now | -j foo
-j {all} | -j {all} -D | -j {all} -A physics | -j {all} --name half | -j {all} -S {mid} | -j {all} -E {mid} | -j {all} -s PD
-N n1 | -N n2,n3 | -N n4 -a | -N n9 | -N n[1-4] -u alice | -N n3 -s CA -S {start} -E now | --name=array,plain -a
--name nosuch -a | --name {wide} -a | --name again -a -D | -i 2 -a | -i 1-2 -a | -i x | -I 1-8 -a | --ncpus=3 -a | -I 3-
-k 2 -a | -k 1:00:00 -a | -k 2 -K 1-0 -a | -K 10 -a | -k x | -X -a | -t -a | -D -a -S {start} | -v -a | --noconvert -a
--use-local-uid -a | -S foo | -a -S {start} -E {start} | -E {start} -S {mid} | --zzz | -Z | nonsense | -c -a | -f nothing -a
--starttime={start} --endtime=now -a | -S {start_slash} -a
"""
"""Options that choose jobs; FIELDS are shown."""

FORMS = """
-P -o jobid,state -j {array} | -p -o JobID,State,ExitCode -j {array} | -np -o jobid -j {plain} | -nPb -o user -j {plain}
-nP --delimiter=; -o jobid,user,state -j {plain} | -nP -o job,st -j {plain} | -nP -o jobid -o state -j {plain} | -Pb -j {array}
-nP -o JobID%20,State%5 -j {plain} | -nP -o alloc,e,u -j {plain} | -nP -o jobid,jobname,partition,account,alloccpus,state,exitcode -j {array}
-n -o jobid%10,state%12 -j {plain} | -n -o jobid%-10,state%-12 -j {array} | -n -o jobname%8 -j {wide_job} | -o nosuch
-nP -o submit,start,end -j {plain} | -nP -o alloctres --noconvert -j {plain} | --usage
"""
"""Options that shape the answer: the same lines are to come."""

DIFFERENT = {
    "refused": "-W x -a | -C x -a | -x 3 -a | -F SchedMain -a | -B -j {plain} | --whole-hetjob=yes -j {second}",
    "steps": "-j {plain}.batch | -j {plain}.0",
    "ranges": "-j {array}_[1-2]",
    "cpus": "-I 2 -a",
    "width": "-o jobid%x -j {plain}",
    "units": "--units=K -a",
}
"""Options whose answers differ, by the name of the difference."""


class Answer(NamedTuple):
    """What a program answered: its exit status, its lines, and those of standard error."""

    status: int
    lines: list[str]
    errors: list[str]


class Case(NamedTuple):
    """A command line, and whether it shows FIELDS or lines of its own."""

    options: str
    shows_fields: bool


def cases(values: Mapping[str, str]) -> list[Case]:
    """Every command line that is to have the same answer."""
    chosen = [Case(options, True) for options in _split(SELECTIONS, values)]
    return chosen + [Case(options, False) for options in _split(FORMS, values)]


def different(values: Mapping[str, str]) -> list[tuple[str, Case]]:
    """The command lines whose answers are to differ, with the name of the difference."""
    return [(name, Case(options, True)) for name, text in DIFFERENT.items() for options in _split(text, values)]


def _split(text: str, values: Mapping[str, str]) -> list[str]:
    parts = (part.strip() for line in text.splitlines() for part in line.split(" | "))
    return [part.format(**values) for part in parts if part]


def values_of(scene: Scene, cluster: str) -> dict[str, str]:
    """What the command lines are filled in with: JobIDs and times of the scene."""
    jobs = scene.jobs
    times = {"start": scene.start, "mid": scene.start + 3, "before": scene.ended - 1, "ended": scene.ended}
    times["ends"] = scene.start + WINDOW_S
    stamps = {name: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) for name, at in times.items()}
    return stamps | {
        "cluster": cluster,
        "start_slash": time.strftime("%m/%d/%y-%H:%M:%S", time.gmtime(scene.start)),
        "start_epoch": time.strftime("%m%d%y-%H:%M", time.gmtime(scene.start - 60)),
        "wide": WIDE_NAME,
        "hostile": HOSTILE_NAME,
        "second": str(jobs["het"] + 1),
        "hold": str(jobs["on hold"]),
        "never": str(jobs["never started"]),
        "again": str(jobs["waits again"]),
        "half": str(jobs["half an array"]),
        "wide_job": str(jobs["wide"]),
        "all": ",".join(map(str, jobs.values())),
        **{
            name: str(jobs[name])
            for name in ("array", "plain", "het", "optics", "running", "suspended", "pending", "cancelled")
        },
    }


def answers(cluster: Cluster, uid: int, wanted: Sequence[Case]) -> Iterator[tuple[Answer, Answer]]:
    """Yield what sacct and carbon-acct answer to each, run as a user in one go: a process in the cluster costs more."""
    shown = f"-n -P --delimiter={DELIMITER} -o {','.join(FIELDS)}"
    commands = [
        f"{program} {_quoted(case.options)} {shown if case.shows_fields else ''}"
        for case in wanted
        for program in ("sacct -X", "carbon-acct")
    ]
    script = "errors=$(mktemp)\n" + "".join(
        f'{command} 2>"$errors" </dev/null; status=$?; echo; echo "=== $status"; cat "$errors"; echo "=== end"\n'
        for command in commands
    )
    change = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", "env", "TZ=UTC"]
    done = cluster.run([*change, "sh", "-s"], check=False, timeout=300, stdin=script)
    found = [_answer(part) for part in done.stdout.split("=== end\n")[: len(commands)]]
    assert len(found) == len(commands), done.stderr
    yield from zip(found[::2], found[1::2], strict=True)


def _quoted(options: str) -> str:
    return " ".join(shlex.quote(word) for word in options.split(" "))


def _answer(part: str) -> Answer:
    text, _, rest = part.rpartition("=== ")
    status, _, errors = rest.partition("\n")
    lines = text.removesuffix("\n")
    return Answer(int(status), lines.splitlines(), errors.splitlines())


def difference(case: Case, sacct: Answer, ours: Answer) -> str:
    """What differs and is not wanted to; empty if nothing."""
    if (sacct.status == 0) != (ours.status == 0):
        return f"exit {sacct.status} and {ours.status}: {ours.errors[:1] or sacct.errors[:1]}"
    if ours.status:
        one_line = ours.status in (1, 2) and not ours.lines and len(ours.errors) == 1
        return "" if one_line else f"not one line and exit 1 or 2: {ours}"
    if not case.shows_fields:
        left, right = ([line.rstrip() for line in answer.lines if line] for answer in (sacct, ours))
        same = left == right or "-V" in case.options or "--usage" in case.options
        return "" if same else f"{left} and {right}"
    theirs, mine = (list(map(_cells, filter(None, answer.lines))) for answer in (sacct, ours))
    theirs, mine = (list(_compared(case, rows)) for rows in (theirs, mine))
    if [row["JobID"] for row in theirs] != [row["JobID"] for row in mine]:
        return f"rows {' '.join(row['JobID'] for row in theirs)} and {' '.join(row['JobID'] for row in mine)}"
    for left, right in zip(theirs, mine, strict=True):
        for name in FIELDS:
            if not (_is_cut(case, name, left) or _same(name, left, right)):
                return f"{name} of {left['JobID']}: {left[name]!r} and {right[name]!r}"
    return ""


def _is_cut(case: Case, name: str, sacct: Mapping[str, str]) -> bool:
    """Whether a cell is of the wanted difference `cut`."""
    truncates = re.search(r"(^| )-a?T ", case.options) is not None
    return truncates and name in OF_RUNNING and sacct["Suspended"] != "00:00:00"


def _compared(case: Case, rows: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield rows without those of the wanted differences `never` and `nodes`."""
    words = case.options.split()
    for row in rows:
        never_started = row["State"].startswith("CANCELLED") and not row["AllocTRES"]
        waits_again = row["JobName"] == "again" and not {"-i", "--nnodes"}.isdisjoint(words)
        if not (never_started and "-j" not in words) and not waits_again:
            yield row


def _cells(line: str) -> dict[str, str]:
    cells = line.split(DELIMITER)
    assert len(cells) == len(FIELDS), line
    return dict(zip(FIELDS, cells, strict=True))


def _same(name: str, sacct: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    """Whether a cell is the same but for the wanted differences `empty`, `text`, `running` and `nodes`.

    sacct and the poll may have asked within the same two seconds, in any order.
    """
    left, right = sacct[name], ours[name]
    if name in OF_RUNNING and sacct["State"] in ("RUNNING", "SUSPENDED"):
        cpus = int(sacct["NCPUS"]) if name.startswith("CPU") else 1
        return -2 * cpus <= _seconds(left) - _seconds(right or "0") <= POLL_S * cpus
    if name == "AllocNodes" and sacct["State"] == "PENDING":
        return right == "0"
    return ("" if left in NOTHING else escaped(left)) == right


def _seconds(text: str) -> int:
    if text.isdigit():
        return int(text)
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = map(int, re.split(":", clock))
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
