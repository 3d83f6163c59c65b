# SPDX-License-Identifier: MIT
"""carbon-track runs a command as if it were not there, and takes marks from any language."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carbon_collector
from carbon_job import marks, watch
from carbon_job.cli import main, parser, split
from job.livenode import LiveNode

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
SHOW = "import sys; print(sys.argv[1:])"


def members(group: int) -> list[str]:
    """The names of the processes of a process group."""
    stats = [text.rpartition(")") for text in map(_stat, Path("/proc").iterdir()) if text]
    return [
        head.partition("(")[2] for head, _, rest in stats if rest.split()[2] == str(group) and rest.split()[0] != "Z"
    ]


def _stat(process: Path) -> str:
    try:
        return (process / "stat").read_text() if process.name.isdigit() else ""
    except OSError:
        return ""


@pytest.mark.parametrize("prefix", [["--"], [], ["-q", "--epochs", "3", "--"], ["--epochs=3"]])
def test_options_of_the_command_stay_its_own(carbon_track: Run, prefix: list[str]) -> None:
    """`--log x` of the command reaches it whole, as does every other option that carbon-track has too."""
    own = ["--log", "x", "--epochs", "9", "-q", "--", "--version"]
    done = carbon_track(*prefix, sys.executable, "-c", SHOW, *own)

    assert (done.returncode, done.stdout) == (0, f"{own}\n")
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("exit 0", 0), ("kill -TERM $$", -15), ("kill -KILL $$", -9)]
)
def test_the_exit_is_the_command_s(carbon_track: Run, environment: dict[str, str], script: str, code: int) -> None:
    """Its exit code, or the signal that ended it, is what the caller sees; in a job and outside of one."""
    assert carbon_track("--", "sh", "-c", script).returncode == code
    assert carbon_track("--", "sh", "-c", script, env={**environment, "SLURM_JOB_ID": ""}).returncode == code


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/etc/passwd", 126)])
def test_what_cannot_run_says_so(carbon_track: Run, environment: dict[str, str], command: str, code: int) -> None:
    """Exit 127 and 126, as shells have them, with one line."""
    for env in (environment, {**environment, "SLURM_JOB_ID": ""}):
        done = carbon_track("-q", command, env=env)

        assert done.returncode == code
        why = "command not found" if code == 127 else "Permission denied"
        assert done.stderr.splitlines()[-1] == f"carbon-track: {command}: {why}"


def test_input_and_output_are_the_command_s(carbon_track: Run) -> None:
    """Standard input arrives byte for byte, and standard output has nothing of ours."""
    text = "".join(chr(33 + i % 90) for i in range(200_000))

    assert carbon_track("--", "cat", input=text).stdout == text


@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP", "SIGINT"])
def test_signals_arrive_once(environment: dict[str, str], name: str, to_all: bool) -> None:
    """A signal that is sent to carbon-track alone, or to all processes around it, reaches the command once."""
    text = (
        "import os, signal, time\nseen = []\n"
        f"signal.signal(signal.{name}, lambda *_: seen.append(1))\nos.write(1, b'ready\\n')\n"
        "until = time.monotonic() + 20\n"
        "while not seen and time.monotonic() < until: time.sleep(0.05)\n"
        "time.sleep(0.3); print(len(seen))"
    )
    command = [sys.executable, "-m", "carbon_job", "-q", "--", sys.executable, "-c", text]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    (os.killpg if to_all else os.kill)(started.pid, signal.Signals[name])

    assert started.communicate(timeout=60) == ("1\n", None)
    assert started.returncode == 0


def test_the_witness_ends_with_carbon_track(environment: dict[str, str]) -> None:
    """The process that tells who else was signalled leaves nothing behind, even if carbon-track is killed."""
    command = [sys.executable, "-m", "carbon_job", "-q", "--", "sh", "-c", "echo ready; exec sleep 60"]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert started.stdout is not None
    started.stdout.readline()
    with_it = members(started.pid)
    started.kill()
    started.wait(timeout=60)
    until = time.monotonic() + 60
    while len(members(started.pid)) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    left = members(started.pid)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate(timeout=60)

    assert len(with_it) == 3
    assert left == ["sleep"]


def test_a_killed_wrapper_leaves_the_command_alone(environment: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL of carbon-track does not end the command."""
    done = tmp_path / "done"
    command = [sys.executable, "-m", "carbon_job", "--", "sh", "-c", f"echo ready; sleep 1.5; touch {done}"]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    started.kill()
    started.communicate(timeout=60)
    until = time.monotonic() + 60
    while not done.exists() and time.monotonic() < until:
        time.sleep(0.1)

    assert done.exists()


def test_sigterm_is_followed_by_a_line_in_the_log(environment: dict[str, str], tmp_path: Path) -> None:
    """A command that ignores the signal may be killed with carbon-track at any time: what it came to is in the log."""
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "carbon_job", "--log", str(log), "--"]
    command += ["sh", "-c", "trap '' TERM; echo ready; i=0; while [ $i -lt 80 ]; do sleep 0.1; i=$((i+1)); done"]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(3)  # until there is a reading, also on a busy machine
    started.terminate()
    until = time.monotonic() + 5
    while time.monotonic() < until and not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.05)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    started.communicate(timeout=60)

    assert [(line["type"], line["signal"]) for line in found] == [("so far", "SIGTERM")]
    assert found[0]["energy_j"] > 0


def test_marks_from_a_shell(carbon_track: Run, tmp_path: Path) -> None:
    """Epochs, steps and phases that a shell script marks become results, by `mark` and by the bare descriptor."""
    log = tmp_path / "log.jsonl"
    mark = f"{sys.executable} -m carbon_job mark"
    script = (
        f"{mark} epoch; sleep 0.6; {mark} step 4; {mark} phase validation; sleep 0.4; {mark} phase; sleep 0.1;"
        f"echo epoch >&$CARBON_TRACK_FD; echo nonsense >&$CARBON_TRACK_FD; {mark} step; sleep 0.6; {mark} end"
    )
    done = carbon_track("--epochs", "2", "--log", str(log), "--", "sh", "-c", script)
    found = [json.loads(line) for line in log.read_text().splitlines()]

    assert done.returncode == 0
    assert [(line["type"], line["path"], line["steps"]) for line in found] == [
        ("phase", "epoch/validation", 0),
        ("epoch", "epoch", 4),
        ("epoch", "epoch", 1),
        ("run", "run", 5),
    ]
    assert all(line["complete"] for line in found)


def test_a_mark_finds_its_way_past_closed_descriptors(carbon_track: Run) -> None:
    """A program that closes descriptors, as Python does with those of its children, can mark all the same."""
    text = f"import subprocess, sys\nfor _ in range(2): subprocess.run([{sys.executable!r}, '-m', 'carbon_job', 'mark', 'epoch'])"
    done = carbon_track("--", sys.executable, "-c", text)

    assert [line.split(":")[1] for line in done.stderr.splitlines()][:2] == [" epoch 1", " epoch 2"]


def test_a_mark_writes_into_nothing_else(tmp_path: Path) -> None:
    """A descriptor that is no longer the pipe (the program opened a file of its own there) is left alone."""
    reader, writer = os.pipe()
    environ = marks.environment(writer)
    os.close(writer)
    file = os.open(tmp_path / "model", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, int(environ[marks.FD]))

    assert not marks.send("epoch", "", environ)
    assert (tmp_path / "model").read_bytes() == b""
    for fd in {file, int(environ[marks.FD]), reader}:
        os.close(fd)


def test_a_mark_without_carbon_track_succeeds(environment: dict[str, str]) -> None:
    """A script with marks runs without carbon-track as well; a mark that is none is a usage error."""
    command = [sys.executable, "-m", "carbon_job", "mark"]

    assert subprocess.run([*command, "epoch"], env=environment, check=False).returncode == 0
    assert subprocess.run([*command, "epok"], env=environment, check=False, capture_output=True).returncode == 2


@given(st.text(max_size=300))
def test_a_line_that_is_no_mark_is_none(text: str) -> None:
    """Whatever a program writes to the pipe, reading it never fails."""
    line = marks.parse(text)

    assert line is None or line.kind in marks.KINDS


@given(st.lists(st.sampled_from(["--epochs", "3", "-q", "--log=x", "cmd", "--", "-x", "a b"]), max_size=8))
def test_splitting_loses_nothing(words: list[str]) -> None:
    """Own options and the command are the given words in their order, less one `--`."""
    own, command = split(words, parser())

    assert own + command == words or [*own, "--", *command] == words


def test_outside_a_job_one_line_and_the_command_runs(
    carbon_track: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """No job, or no collector: one line says which, and the command takes the place of carbon-track."""
    for env, why in (
        ({"SLURM_JOB_ID": ""}, "not inside a Slurm job"),
        ({"CARBON_ACCT_RUN_DIR": str(tmp_path / "none")}, "does carbon-collector run on this node?"),
    ):
        done = carbon_track("--", "sh", "-c", "echo $PPID", env={**environment, **env})

        assert done.stdout == f"{os.getpid()}\n"
        assert len(done.stderr.splitlines()) == 1
        assert why in done.stderr


def test_other_ranks_are_silent(carbon_track: Run, environment: dict[str, str]) -> None:
    """Of the tasks of a node the first one alone tracks; the others are their command."""
    done = carbon_track("--", "sh", "-c", "echo $PPID", env={**environment, "SLURM_LOCALID": "1", "SLURM_PROCID": "1"})

    assert (done.stdout, done.stderr) == (f"{os.getpid()}\n", "")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--max-energy", "500J", "--limit", "spent", "--on-limit", "stop"], -15, "passes its limit of 500 J (energy)"),
        (["--max-energy", "500J", "--limit", "spent", "--on-limit", "signal:KILL"], -9, "passes its limit"),
        (["--max-carbon", "1kg", "--intensity", "400", "--on-limit", "stop"], 0, "CO2e"),
    ],
)
def test_limits_end_the_command(carbon_track: Run, options: list[str], code: int, said: str) -> None:
    """A limit that is passed at the end of an epoch ends the command by the signal that was asked for."""
    done = carbon_track(
        *options, "--", "sh", "-c", "for i in 1 2 3 4 5; do echo epoch >&$CARBON_TRACK_FD; sleep 0.9; done"
    )

    assert done.returncode == code
    assert said in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "lasts"),
    [
        (["--on-limit", "stop"], 0, True),
        (["--on-limit", "stop", "--kill-after", "1s"], -9, False),
        (["--on-limit", "signal:USR1", "--kill-after", "1"], -9, False),
    ],
)
def test_a_deaf_command_is_killed_only_if_asked_for(
    carbon_track: Run, tmp_path: Path, options: list[str], code: int, lasts: bool
) -> None:
    """A command that ignores the signal of a limit goes on to its end, unless --kill-after gives it a time; then what
    it came to is in the log all the same.
    """
    log = tmp_path / "log.jsonl"
    script = "trap '' TERM USR1; for i in 1 2 3 4 5 6; do echo epoch >&$CARBON_TRACK_FD; sleep 0.9; done; echo whole"
    limit = ["--max-energy", "300J", "--limit", "spent", "--log", str(log)]
    done = carbon_track(*limit, *options, "--", "sh", "-c", script)
    found = [json.loads(line) for line in log.read_text().splitlines()]

    assert done.returncode == code
    assert (done.stdout == "whole\n") == lasts
    assert ("still runs after 1.00 s: SIGKILL" in done.stderr) != lasts
    assert (found[-1]["type"], found[-1]["complete"]) == ("run", lasts)
    assert [line["number"] for line in found if line["type"] == "epoch"][:2] == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--kill-after soon true", "'soon' is not a time, such as 90s, 5m or 12h"),
        ("--max-energy lots true", "'lots' is not an energy, such as 500Wh, 1.5kWh or 3MJ"),
        ("--max-energy=-5kWh true", "'-5kWh' is not an energy"),
        ("--max-carbon 2kWh true", "'2kWh' is not a mass of CO2e, such as 500g or 2kg"),
        ("--max-carbon 2 true", "'2' is not a mass"),
        ("--max-energy 5Wh --on-limit panic true", "'panic' is none of warn, stop and signal:SIG"),
        ("--max-energy 5Wh --on-limit signal:NO true", "'signal:NO' is none of"),
        ("--max-energy 5Wh --limit x true", "invalid choice: 'x'"),
        ("--epochs 0 true", "'0' is not a whole number from 1 on"),
        ("--epochs=-3 true", "'-3' is not a whole number from 1 on"),
        ("--steps 1.5 true", "'1.5' is not a whole number"),
        ("--pue 0.9 true", "'0.9' is not a number from 1 to 10"),
        ("--intensity=-1 true", "'-1' is not a number from 0 to 5000"),
        ("--intensity nan true", "'nan' is not a number"),
        ("--until tomorrow true", "'tomorrow' is not a time"),
        ("--foo true", "unrecognized arguments: --foo"),
        ("--epochs 1", "which command?"),
        ("--limit upper true", "--limit needs a limit: --max-energy or --max-carbon"),
        ("--on-limit stop true", "--on-limit needs a limit"),
        ("--kill-after 5m --max-energy 2kWh true", "--kill-after needs --on-limit stop or --on-limit signal:SIG"),
        ("--until 5m --epochs 3 true", "--until is for commands without epochs"),
    ],
)
def test_wrong_options_are_named(options: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong value, an option that would do nothing, or no command: exit 2, with the reason in the last line."""
    with contextlib.suppress(SystemExit):
        assert main(options.split()) == 2
    last = capfd.readouterr().err.splitlines()[-1]

    assert last.startswith("carbon-track: ")
    assert says in last


def test_a_wrong_option_runs_nothing(carbon_track: Run, tmp_path: Path) -> None:
    """The command is not started where an option is wrong."""
    done = carbon_track("--max-energy", "2kW", "--", "touch", str(tmp_path / "ran"))

    assert done.returncode == 2
    assert not (tmp_path / "ran").exists()


def test_limits_are_held_without_epochs(tmp_path: Path, environment: dict[str, str]) -> None:
    """A command that marks nothing, in a batch job without a terminal, is ended when its energy passes the limit."""
    with LiveNode(tmp_path / "batch", {"cpu": lambda _t: 200.0}, tick_s=0.5) as node:
        command = [sys.executable, "-m", "carbon_job", "--max-energy", "400J", "--on-limit", "stop", "--"]
        env = {**environment, **node.environment()}
        done = subprocess.run([*command, "sleep", "60"], env=env, capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGTERM
    assert "passes its limit of 400 J (energy)" in done.stderr


def test_a_command_without_epochs_tells_once_a_minute(tmp_path: Path, environment: dict[str, str]) -> None:
    """After SIGKILL a run without epochs has lost its last minute alone, and `watch` shows what it came to."""
    log = tmp_path / "log.jsonl"
    text = f"from carbon_job import cli, report; report.SO_FAR_S = 1.0; cli.main(['-q', '--log', {str(log)!r}, '--', 'sleep', '60'])"
    with LiveNode(tmp_path / "batch", {"cpu": lambda _t: 200.0}, tick_s=0.5) as node:
        env = {**environment, **node.environment()}
        started = subprocess.Popen([sys.executable, "-c", text], env=env, start_new_session=True)
        until = time.monotonic() + 60
        while (not log.exists() or log.read_text().count("\n") < 2) and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    found = [json.loads(line) for line in log.read_text().splitlines()]

    assert {line["type"] for line in found} == {"so far"}
    assert found[0]["energy_j"] < found[1]["energy_j"]
    assert [len(seen.epochs) for seen in watch.runs(watch.read(str(log)))] == [0]


def test_what_cannot_be_held_is_said(carbon_track: Run, environment: dict[str, str]) -> None:
    """Outside a job no limit is held; without an intensity none on carbon; without a time limit nothing is predicted."""
    limit = ["--max-carbon", "2kg", "--until", "timelimit", "--", "true"]
    outside = carbon_track(*limit, env={**environment, "SLURM_JOB_ID": ""}).stderr
    inside = carbon_track(
        *limit, env={key: environment[key] for key in environment if key != "SLURM_JOB_END_TIME"}
    ).stderr

    assert outside.endswith("no energy, and limits are not held\n")
    assert "no prediction: the job's time limit is not known" in inside
    assert "the limit on carbon is not held: no aggregator is known" in inside


def test_a_log_that_cannot_be_written_costs_its_lines(carbon_track: Run) -> None:
    """Where the disk is full, epochs are shown and limits held all the same, and one line says what is lost."""
    options = ["--log", "/dev/full", "--max-energy", "500J", "--limit", "spent", "--on-limit", "stop"]
    script = "for i in 1 2 3 4 5; do echo epoch >&$CARBON_TRACK_FD; sleep 0.9; done"
    done = carbon_track(*options, "--", "sh", "-c", script)

    assert done.returncode == -signal.SIGTERM
    assert done.stderr.count("/dev/full: No space left on device") == 1
    assert "carbon: epoch 1: " in done.stderr
    assert "passes its limit" in done.stderr


def test_until_the_time_limit(carbon_track: Run, environment: dict[str, str], tmp_path: Path) -> None:
    """Without epochs, the prediction goes up to the job's time limit, or for a given time, at the power so far."""
    log = tmp_path / "log.jsonl"
    ends = {**environment, "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    carbon_track(
        "--until", "timelimit", "--log", str(log), "--", "sh", "-c", "echo epoch >&$CARBON_TRACK_FD; sleep 3", env=ends
    )
    carbon_track("--until", "1h", "--log", str(log), "--", "sh", "-c", "echo epoch >&$CARBON_TRACK_FD; sleep 3")
    found = [json.loads(line) for line in log.read_text().splitlines()]
    said = [line["prediction"] for line in found if line["type"] == "epoch"]

    assert [one["energy_j"] for one in said] == [pytest.approx(400 * 3600, rel=0.15)] * 2


@pytest.mark.parametrize("columns", [200, 80])
def test_a_terminal_has_one_line_that_updates(environment: dict[str, str], columns: int) -> None:
    """On a terminal the last row shows the progress, again and again, with its interval however narrow it is; the command's
    lines scroll above it, whole.
    """
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    script = "for i in 1 2 3; do echo epoch >&$CARBON_TRACK_FD; sleep 2.5; echo line $i; done"
    command = [sys.executable, "-m", "carbon_job", "--epochs", "3", "--intensity", "344", "--", "sh", "-c", script]
    started = subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while piece := os.read(main, 65536):
            seen += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(main)
    started.wait(timeout=60)
    text = seen.decode()
    updates = re.findall(r"\x1b7\x1b\[24;1H(carbon[^\x1b]*)\x1b\[K\x1b8", text)
    begin = "carbon: epoch 2/3: " if columns > 80 else "carbon 2/3: "

    assert any(re.match(rf"{begin}.*g.* left, in all .* to .* (J|Wh)", update) for update in updates)
    assert max(map(len, updates)) < columns
    assert text.count("\x1b[1;23r") == text.count("\x1b[r") == 1
    assert re.findall(r"line \d\r\n", text) == [f"line {i}\r\n" for i in (1, 2, 3)]
    assert text.endswith("(counter; simulated)\r\n")


def test_the_version_is_the_product_s(carbon_track: Run) -> None:
    """All programs of the product have one version."""
    assert carbon_track("-V").stdout == f"carbon-track {carbon_collector.__version__}\n"
