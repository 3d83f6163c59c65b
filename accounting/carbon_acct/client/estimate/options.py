# SPDX-License-Identifier: MIT
"""Reads the command line of carbon-estimate: sbatch's options with sbatch's letters, and its own beside them.

It follows sbatch's getopt: `--time=1`, `--time 1`, `-t1`, `-t 1`, long options shortened as far as they stay
unambiguous, and an optional value only after `=`. Words after the script belong to the script. What the options mean is
read in `asked`.
"""

from __future__ import annotations

import difflib

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NONE, ONE, MAYBE = "none", "one", "maybe"


class Option(NamedTuple):
    """An option: its long name, its letter or "", whether it takes a value, and for one of our own its help."""

    name: str
    letter: str
    value: str
    metavar: str = ""
    doc: str = ""


class Words(NamedTuple):
    """A command line: a dict of options for each component of a heterogeneous job, and the script with its
    arguments.
    """

    components: tuple[dict[str, str], ...]
    rest: tuple[str, ...]

    @property
    def options(self) -> dict[str, str]:
        """Return the options of the first component. Our own options are among them."""
        return self.components[0]


OWN = (
    Option("hours", "", ONE, "H", "hours that the job will take; `--time` is only the most"),
    Option("jobs", "j", ONE, "LIST", "these jobs: what they consumed, and what is to come of those that run"),
    Option("cpu-type", "", ONE, "MODEL", "model of the CPUs, e.g. `EPYC 7763`"),
    Option("zone", "", ONE, "ZONE", "zone of the grid (default: the site's); `carbon-mgr zones` lists them"),
    Option("region", "", ONE, "PROVIDER:REGION", "region of a cloud provider; --regions lists them"),
    Option("intensity", "", ONE, "G", "grams of CO2 equivalent for a kilowatt-hour"),
    Option("pue", "", ONE, "X", "power usage effectiveness (default: the site's)"),
    Option("utilization", "", ONE, "U", "part of full power that is drawn, 0 to 1"),
    Option("watts", "", ONE, "W", "watts of each GPU, instead of the table's"),
    Option("basis", "", ONE, "BASIS", "what it rests on: auto, history, partition or hardware"),
    Option("compare", "", MAYBE, "ZONE,...", "beside other zones or regions; without any the cleanest and dirtiest"),
    Option("within", "", ONE, "TIME", "the best begin within that time, by the forecast, e.g. 24h"),
    Option("hints", "", NONE, "", "what your own jobs of the last 30 days could have saved"),
    Option("hardware", "", NONE, "", "list the accelerators with their watts"),
    Option("regions", "", NONE, "", "list the regions of cloud providers"),
    Option("json", "", NONE, "", "everything as JSON"),
    Option("csv", "", NONE, "", "comma-separated values"),
    Option("debug", "", NONE, "", "show where an error comes from"),
    Option("version", "V", NONE, "", "print the version"),
    Option("help", "h", NONE, "", "print this help"),
)
"""The options of carbon-estimate's own. `-h` and `-V` are letters of sbatch too, with the same meaning."""

_SBATCH = """
A:account= acctg-freq= a:array= batch= bb= bbf= b:begin= D:chdir= cluster-constraint= M:clusters= cluster= comment=
C:constraint= container= container-id= contiguous S:core-spec= cores-per-socket= cpu-freq= cpus-per-gpu=
c:cpus-per-task= deadline= delay-boot= d:dependency= m:distribution= e:error= x:exclude= exclusive? export=
export-file= extra= B:extra-node-info= get-user-env? gid= gpu-bind= gpu-freq= G:gpus= gpus-per-node=
gpus-per-socket= gpus-per-task= gres= gres-flags= hint= H:hold ignore-pbs i:input= J:job-name= kill-on-invalid-dep=
L:licenses= mail-type= mail-user= mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu= mincpus= network= nice?
k:no-kill? no-requeue F:nodefile= w:nodelist= N:nodes= n:ntasks= ntasks-per-core= ntasks-per-gpu= ntasks-per-node=
ntasks-per-socket= open-mode= o:output= O:overcommit s:oversubscribe parsable p:partition= power= prefer= priority=
profile= propagate? q:qos= Q:quiet reboot requeue reservation= resv-ports? segment= signal= sockets-per-node=
spread-job switches= test-only thread-spec= threads-per-core= t:time= time-min= tmp= tres-bind= tres-per-job=
tres-per-node= tres-per-socket= tres-per-task= uid= usage use-min-nodes v:verbose W:wait wait-all-nodes= wckey= wrap=
"""


def _sbatch() -> tuple[Option, ...]:
    found = []
    for word in _SBATCH.split():
        letter, colon, name = word.rpartition(":")
        value = {"=": ONE, "?": MAYBE}.get(name[-1], NONE)
        found.append(Option(name.rstrip("=?"), letter if colon else "", value))
    return tuple(found)


SBATCH = _sbatch()
ALL = (*OWN, *SBATCH)

VARIABLES = {
    **{
        f"SBATCH_{name.upper().replace('-', '_')}": name
        for name in (
            *("account", "cpus-per-gpu", "constraint", "exclusive", "gpus", "gpus-per-node", "gpus-per-task", "gres"),
            *("hint", "job-name", "mem-per-cpu", "mem-per-gpu", "partition", "qos", "threads-per-core"),
            *("tres-per-task", "clusters"),
        )
    },
    "SBATCH_ARRAY_INX": "array",
    "SBATCH_MEM_PER_NODE": "mem",
    "SBATCH_TIMELIMIT": "time",
    "SLURM_CLUSTERS": "clusters",
    "SLURM_HINT": "hint",
}
"""The environment variables that change what a job consumes or where it runs (sbatch(1), INPUT ENVIRONMENT
VARIABLES).
"""


def command_line(words: list[str], is_zones: Callable[[str], bool] = lambda _: False) -> Words:
    """Return the words after the program's name, read. Raises UsageError that names the nearest option.

    `is_zones` says whether a word can be the value of --compare, which may stand without one.
    """
    components: list[dict[str, str]] = [{}]
    rest: tuple[str, ...] = ()
    at = 0
    while at < len(words):
        word = words[at]
        if word == ":":
            components.append({})
            at += 1
        elif word == "--" or not word.startswith("-") or word == "-":
            rest = tuple(words[at + (word == "--") :])
            break
        else:
            at += _take(words, at, ALL, components[-1], is_zones)
    return Words(tuple(components), rest)


def directives(place: str, words: list[str]) -> dict[str, str]:
    """Return the options of an #SBATCH line. A word that is no option ends them, as in sbatch. Raises UsageError."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
            at += _take(words, at, SBATCH, found, lambda _: False)
    except UsageError as err:
        raise UsageError(f"{place}: {err}") from err
    return found


def of_environment(environment: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the options that SBATCH_* variables set."""
    return {VARIABLES[name]: value for name, value in environment if name in VARIABLES}


def _take(
    words: list[str], at: int, table: tuple[Option, ...], into: dict[str, str], is_zones: Callable[[str], bool]
) -> int:
    """Read the option at `words[at]` into a dict, and return the number of words that it took."""
    word = words[at]
    if not word.startswith("--"):
        return _letters(words, at, table, into)
    name, equals, value = word[2:].partition("=")
    option = _long(name, table)
    following = words[at + 1] if at + 1 < len(words) else None
    if option.value == NONE and equals:
        raise UsageError(f"--{option.name} takes no value")
    if option.value == MAYBE and not equals and following is not None and is_zones(following):
        into[option.name] = following
        return 2
    if option.value == ONE and not equals:
        if following is None:
            raise UsageError(f"--{option.name} needs a value")
        into[option.name] = following
        return 2
    into[option.name] = value
    return 1


def _letters(words: list[str], at: int, table: tuple[Option, ...], into: dict[str, str]) -> int:
    letters = words[at][1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((one for one in table if one.letter == letter), None)
        if option is None:
            raise UsageError(f"unknown option -{letter} (--help lists ours, sbatch(1) the others)")
        if option.value == ONE:
            if letters:
                into[option.name] = letters
                return 1
            if at + 1 >= len(words):
                raise UsageError(f"-{letter} needs a value")
            into[option.name] = words[at + 1]
            return 2
        into[option.name] = ""
    return 1


def _long(name: str, table: tuple[Option, ...]) -> Option:
    for option in table:
        if option.name == name:
            return option
    begun = [option for option in table if name and option.name.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise UsageError(f"--{name} may be any of {', '.join('--' + option.name for option in begun)}")
    close = difflib.get_close_matches(name, [option.name for option in table], 1, 0.6)
    raise UsageError(f"unknown option --{name}{f'; did you mean --{close[0]}?' if close else ''}")
